package ostiary_test

import data.ostiary

argument_sql_denies(sql) if {
	"sql must be one SQL statement that only reads" in ostiary.deny with input.upstream as "warehouse"
		with input.arguments as {"sql": sql}
		with data.argument_sql.upstreams as {"warehouse": ["sql"]}
}

test_argument_sql_reading if {
	not argument_sql_denies("SELECT * FROM orders WHERE updated > 3")
	not argument_sql_denies("  select 1;\n")
	not argument_sql_denies("WITH a AS (SELECT 1) SELECT * FROM a")
	not argument_sql_denies("explain select 1")
}

test_argument_sql_changing if {
	argument_sql_denies("DELETE FROM orders")
	argument_sql_denies("dRoP TABLE orders")
	argument_sql_denies("WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone")
	argument_sql_denies("SELECT * INTO copy FROM orders")
	argument_sql_denies("explain analyze select 1")
	argument_sql_denies("select pg_read_file('/etc/passwd')")
}

test_argument_sql_more_than_one if {
	argument_sql_denies("SELECT 1; SELECT 2")
	argument_sql_denies("SELECT 1; DROP TABLE orders")
	argument_sql_denies("SELECT 1;--\n;")
}

test_argument_sql_begins_otherwise if {
	argument_sql_denies("")
	argument_sql_denies("-- SELECT\nDROP TABLE orders")
	argument_sql_denies("selection")
}

test_argument_sql_of_another_kind if {
	argument_sql_denies(["SELECT 1"])
	argument_sql_denies({"sql": "SELECT 1"})
	argument_sql_denies(null)
}
