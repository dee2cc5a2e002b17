package ostiary_test

import data.ostiary

test_someone_is_allowed if ostiary.allow with input as {"user": {"id": "local:ann"}}

test_nobody_is_not if not ostiary.allow with input as {"user": {"id": ""}}
