-- A kind that came from another server is known by its owner's name until resume(), and
-- then by the owner: also where no task came with it.
\ir include/prologue.psql
SELECT plan(6);

CREATE ROLE moved_op LOGIN;
GRANT taskq_user, taskq_operator TO moved_op;
SET SESSION AUTHORIZATION moved_op;
SELECT taskq.kind_define('moved');
RESET SESSION AUTHORIZATION;

-- as in a restored dump, where nothing was submitted before
UPDATE taskq_internal.role SET system = 1, oid = 1;
SELECT is((SELECT count(*) FROM taskq_internal.lane), 0::int8, 'there are no lanes');
SELECT is((SELECT owner FROM taskq.kind WHERE name = 'moved'), 'moved_op', 'its owner is found by name');
SELECT is(taskq.resume(), 0, 'resume() has no lane to take over');

ALTER ROLE moved_op RENAME TO moved_away;
CREATE ROLE moved_op LOGIN;
GRANT taskq_user, taskq_operator TO moved_op;
SET SESSION AUTHORIZATION moved_op;
SELECT throws_ok($$SELECT taskq.kind_define('moved', description => 'stolen')$$, '42501', 'must be owner of kind "moved"',
	'another role of that name does not own the kind');
SELECT throws_ok($$SELECT taskq.kind_drop('moved')$$, '42501', 'must be owner of kind "moved"', '... nor drop it');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION moved_away;
SELECT lives_ok($$SELECT taskq.kind_define('moved', description => 'still mine')$$, 'its owner does, by another name');
RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
