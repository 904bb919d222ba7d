-- The tables of taskq are for nobody's INSERT, UPDATE, DELETE, COPY, MERGE or TRUNCATE,
-- whatever privileges a role has, or was given by a predefined role.
\ir include/prologue.psql
SELECT plan(14);

CREATE ROLE tables_writer LOGIN;
GRANT pg_write_all_data, pg_read_all_data, taskq_operator, taskq_user TO tables_writer;
GRANT USAGE ON SCHEMA taskq_internal TO tables_writer;
GRANT ALL ON ALL TABLES IN SCHEMA taskq_internal TO tables_writer;
SELECT taskq.kind_define('tables_echo', 'echo(jsonb)');
SELECT taskq.task_submit('tables_echo', '{"a": 1}') AS done \gset
CALL wait_state(:'done', 'completed');

-- all tables, as somebody who has all privileges on them
CREATE FUNCTION refused(command text, OUT tables bigint, OUT refusals bigint) LANGUAGE plpgsql AS $$
DECLARE
	t regclass;
BEGIN
	tables := 0;
	refusals := 0;
	FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'taskq_internal'::regnamespace AND relkind IN ('r', 'p') LOOP
		tables := tables + 1;
		BEGIN
			EXECUTE replace(command, '@', t::text);
		EXCEPTION WHEN insufficient_privilege THEN
			refusals := refusals + 1;
		END;
	END LOOP;
END $$;

SET SESSION AUTHORIZATION tables_writer;
SELECT is(refusals, tables, 'INSERT is refused, everywhere') FROM refused('INSERT INTO @ DEFAULT VALUES');
SELECT is(refusals, tables, 'DELETE is refused, everywhere') FROM refused('DELETE FROM @');
SELECT is(refusals, tables, 'TRUNCATE is refused, everywhere') FROM refused('TRUNCATE @');
SELECT throws_ok('UPDATE taskq_internal.task SET attempt = 0', '42501', 'table "task" is for taskq alone', 'UPDATE is refused');
SELECT throws_ok('UPDATE taskq_internal.task_00 SET attempt = 0', '42501', NULL, 'of a leaf too');
SELECT throws_ok('UPDATE taskq_internal.kind SET handler = $$x$$', '42501', NULL, 'of a definition too');
SELECT throws_ok('COPY taskq_internal.role FROM PROGRAM $$true$$', '42501', NULL, 'COPY needs more than that');
SELECT is(hint_of('DELETE FROM taskq_internal.role'), 'Use the functions of schema taskq.', 'there is a hint');
RESET SESSION AUTHORIZATION;
SET session_replication_role = replica;
SET ROLE tables_writer;
SELECT throws_ok('INSERT INTO taskq_internal.lane VALUES (1000, 1, 0, $$q$$, $$sql$$, 0, 0, 0)', '42501', NULL, 'also as a replica');
RESET ROLE;
RESET session_replication_role;

-- whoever may use taskq uses it as ever
SET SESSION AUTHORIZATION tables_writer;
SELECT taskq.task_submit('tables_echo', '{"b": 2}') AS mine \gset
CALL wait_state(:'mine', 'completed');
SELECT is(taskq.task_result(:'mine'), '{"b": 2}', 'its tasks run');
SELECT lives_ok(format('SELECT taskq.task_delete(%L)', :'mine'), 'taskq''s own writes fire no trigger');
RESET SESSION AUTHORIZATION;

SELECT lives_ok('UPDATE taskq_internal.queue SET description = description', 'a superuser may write');
SELECT throws_ok('SELECT taskq_internal.refuse_write()', '39P01', NULL, 'the trigger is no function to call');
SELECT ok((taskq.task_status(:'done')).state = 'completed', 'nothing was changed');

REVOKE ALL ON ALL TABLES IN SCHEMA taskq_internal FROM tables_writer;
REVOKE USAGE ON SCHEMA taskq_internal FROM tables_writer;
SELECT * FROM finish();
