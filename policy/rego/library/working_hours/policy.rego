# Changes only in working hours. Tools that the catalog labels `write` are
# denied, and not listed, outside the days and hours of data.yaml; the hours
# are those of policy.timeZone, from the first one up to, not including, the
# last. Groups on call are exempt.
package ostiary

deny contains "changes are made in working hours only" if {
	"write" in input.target.labels
	not working_hours_now
	not working_hours_exempt
}

working_hours_now if {
	input.time.weekday in data.working_hours.days
	input.time.hour >= data.working_hours.from
	input.time.hour < data.working_hours.to
}

working_hours_exempt if {
	some group in input.user.groups
	group in data.working_hours.exempt
}
