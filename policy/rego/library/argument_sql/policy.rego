# SQL that reads. data.yaml names for each upstream the arguments that hold SQL;
# it must be one statement that begins with SELECT, WITH, SHOW, EXPLAIN or
# VALUES and has no word that changes things or reaches the server's files. This
# is a guard, not a parser: it refuses some harmless queries, such as one with a
# column named `update`, and can't know a function that writes. Give the
# upstream a database account that may only read as well.
package ostiary

deny contains sprintf("%s must be one SQL statement that only reads", [name]) if {
	some name in data.argument_sql.upstreams[input.upstream]
	sql := input.arguments[name]
	not argument_sql_reads(sql)
}

argument_sql_reads(sql) if {
	is_string(sql)
	regex.match(`(?is)^\s*(select|with|show|explain|values)\b`, sql)
	not contains(trim_right(sql, "; \t\r\n"), ";")
	not regex.match(argument_sql_changes, sql)
}

argument_sql_changes := `(?i)\b(insert|update|delete|merge|replace|into|create|alter|drop|truncate|rename|grant|revoke|set|reset|call|do|exec|execute|copy|load|attach|detach|pragma|vacuum|analyze|lock|prepare|pg_read_file|pg_ls_dir|pg_sleep|lo_import|lo_export|dblink|load_file|outfile|dumpfile|xp_cmdshell)\b`
