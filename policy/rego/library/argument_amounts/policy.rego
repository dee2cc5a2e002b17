# Amounts up to a limit. data.yaml names the tools that move money, the argument
# that holds the amount, and the highest one for each group; of a person's
# groups the best counts. The amount must be there, be a number and not be
# negative. It is compared exactly, whatever its length. One call is judged at a
# time: many small ones are a matter of rate budgets.
package ostiary

deny contains sprintf("%s must be a number from 0 to %v", [guard.argument, argument_amounts_limit]) if {
	guard := data.argument_amounts.tools[input.upstream][input.target.name]
	not argument_amounts_fine(guard)
}

argument_amounts_fine(guard) if {
	amount := input.arguments[guard.argument]
	is_number(amount)
	amount >= 0
	amount <= argument_amounts_limit
}

# 0 for those whose groups have none.
argument_amounts_limit := max({0} | {limit |
	some group in input.user.groups
	limit := data.argument_amounts.limits[group]
})
