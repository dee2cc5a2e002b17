package ostiary_test

import data.ostiary

working_hours_denies(day, hour, label, groups) if {
	"changes are made in working hours only" in ostiary.deny with input.time as {"weekday": day, "hour": hour}
		with input.target.labels as [label]
		with input.user.groups as groups
		with data.working_hours as {"days": ["monday", "friday"], "from": 8, "to": 18, "exempt": ["on-call"]}
}

test_working_hours_the_first_hour if not working_hours_denies("monday", 8, "write", [])

test_working_hours_before_it if working_hours_denies("monday", 7, "write", [])

test_working_hours_the_last_hour if not working_hours_denies("friday", 17, "write", [])

test_working_hours_after_it if working_hours_denies("friday", 18, "write", [])

test_working_hours_another_day if working_hours_denies("sunday", 12, "write", [])

test_working_hours_reading if not working_hours_denies("sunday", 12, "read", [])

test_working_hours_on_call if not working_hours_denies("sunday", 3, "write", ["on-call"])
