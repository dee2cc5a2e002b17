# Budgets for calls. Tools that the catalog labels as in data.yaml spend from a
# class of budget; what a class allows, and for whom it is counted, stands in
# ostiary.yaml: rates: {heavy: {limit: 10, per: 1m, by: [user, tool]}}. A call
# beyond it is refused with Retry-After; the tool stays listed. A class that is
# not declared refuses every call.
package ostiary

obligations contains {"type": "rate", "class": class} if {
	some label in input.target.labels
	class := data.rate_budgets.classes[label]
}
