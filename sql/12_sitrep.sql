/* ---------------------------------------------------------------- overview */

CREATE FUNCTION taskq_internal.server(
	OUT paused bool, OUT start_paused bool, OUT launcher int4, OUT dispatcher int4, OUT workers int4, OUT max_workers int4,
	OUT quarantined uuid, OUT events_lost int8)
RETURNS record LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'taskq_server';
COMMENT ON FUNCTION taskq_internal.server() IS 'the state of taskq in this server and database, from shared memory';

CREATE FUNCTION taskq_internal.oldest_snapshot(OUT holder text, OUT since timestamptz, OUT transactions int8)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT holder, since, transactions FROM (
	SELECT format('process %s (%s of %s in database %s, %s)', a.pid, a.backend_type, coalesce(a.usename, 'nobody'),
			coalesce(a.datname, 'none'), coalesce(a.state, 'active')),
		a.xact_start, greatest(age(a.backend_xmin), age(a.backend_xid))
	FROM pg_stat_activity a WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.pid <> pg_backend_pid()
	UNION ALL
	SELECT format('prepared transaction %L of %s in database %s', p.gid, p.owner, p.database), p.prepared, age(p.transaction)
	FROM pg_prepared_xacts p
	UNION ALL
	SELECT format('replication slot %L', s.slot_name), NULL, greatest(age(s.xmin), age(s.catalog_xmin))
	FROM pg_replication_slots s WHERE s.xmin IS NOT NULL
) s(holder, since, transactions)
ORDER BY transactions DESC, since LIMIT 1
$$;
COMMENT ON FUNCTION taskq_internal.oldest_snapshot() IS
'who keeps rows that died after it from being removed, by a snapshot or by an open transaction, since when, and for how many transactions';

CREATE FUNCTION taskq_internal.dead_rows() RETURNS int8
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT coalesce(sum(s.n_dead_tup), 0)::int8 FROM pg_stat_user_tables s WHERE s.schemaname = 'taskq_internal'
$$;
COMMENT ON FUNCTION taskq_internal.dead_rows() IS 'dead rows in the tables of taskq, as the statistics have them';

-- Tasks have tenants, by the statistics of the leaves; or can be expected to, because a
-- kind was given to a role that cannot log in, which is how gateways have them.
CREATE FUNCTION taskq_internal.tenant_trouble() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE
	WHEN g.missing IS NOT NULL THEN
		format('taskq.trusted_gateways names %s, which is no role of this server: its claims are not believed.', g.missing)
	WHEN g.n = 0 AND EXISTS (SELECT FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = s.staattnum
			WHERE c.relnamespace = 'taskq_internal'::regnamespace AND a.attname = 'tenant' AND s.stanullfrac < 1) THEN
		'There are tasks of tenants, but taskq.trusted_gateways is empty: name the role of the gateway (for PostgREST its authenticator), or new tasks are of no tenant and everybody''s.'
	WHEN g.n = 0 AND EXISTS (SELECT FROM taskq_internal.kind_grant k JOIN taskq_internal.role r ON r.id = k.role
			JOIN pg_roles p ON p.rolname = r.name WHERE NOT p.rolcanlogin) THEN
		'Kinds are granted to roles that cannot log in, as those of a gateway, but taskq.trusted_gateways is empty: name the role of the gateway (for PostgREST its authenticator), or its users see each other''s tasks.'
	END
FROM (SELECT count(*) AS n, string_agg(format('%L', q.name), ', ' ORDER BY q.name)
			FILTER (WHERE q.name <> '*' AND NOT EXISTS (SELECT FROM pg_roles p WHERE p.rolname = q.name)) AS missing
	FROM (SELECT btrim(n, ' "') AS name FROM regexp_split_to_table(current_setting('taskq.trusted_gateways', true), ',') n) q
	WHERE q.name <> '') g
$$;
COMMENT ON FUNCTION taskq_internal.tenant_trouble() IS
'why tenants may not be kept apart, or null';

CREATE FUNCTION taskq.sitrep() RETURNS jsonb LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT jsonb_build_object(
	'running', NOT coalesce(s.paused, true) AND p.since IS NULL AND n.why IS NULL,
	'why_not_running', n.why,
	'paused', s.paused OR p.since IS NOT NULL,
	'why_paused', CASE WHEN s.paused THEN 'The server was started with taskq.start_paused; call taskq.resume() to let tasks run.'
		WHEN p.since IS NOT NULL THEN format('Role %I called taskq.pause() at %s%s; call taskq.resume() to let tasks run.', p.role, p.since, ': ' || p.reason) END,
	'foreign_lanes', f.n,
	'why_foreign', CASE WHEN f.n > 0 THEN 'There are tasks that were submitted in another database or server; call taskq.resume() to run them here.' END,
	'why_tenants', taskq_internal.tenant_trouble(),
	'paused_queues', (SELECT coalesce(jsonb_agg(q.name ORDER BY q.name), '[]') FROM taskq_internal.pause q WHERE q.scope = 'q'),
	'paused_kinds', (SELECT coalesce(jsonb_agg(k.name ORDER BY k.name), '[]') FROM taskq_internal.pause k WHERE k.scope = 'k'),
	'waiting', l.waiting,
	'in_progress', l.running,
	'leased', (SELECT count(*) FROM taskq_internal.lease),
	'due_later', (SELECT count(*) FROM (SELECT FROM taskq_internal.timer LIMIT 10000) t),
	'launcher', s.launcher,
	'dispatcher', s.dispatcher,
	'workers', s.workers,
	'max_workers', s.max_workers,
	'quarantined', s.quarantined,
	'events_lost', s.events_lost,
	'dead_rows', taskq_internal.dead_rows(),
	'oldest_snapshot', (SELECT to_jsonb(o) FROM taskq_internal.oldest_snapshot() o WHERE o.holder IS NOT NULL),
	'oldest_xid_age', (SELECT max(age(c.relfrozenxid)) FROM pg_class c
		WHERE c.relnamespace = 'taskq_internal'::regnamespace AND c.relkind = 'r'))
FROM taskq_internal.server() s
LEFT JOIN (SELECT p.since, r.name AS role, p.reason FROM taskq_internal.pause p LEFT JOIN taskq_internal.role r ON r.id = p.role WHERE p.scope = 'a') p ON true
CROSS JOIN LATERAL (SELECT CASE
	WHEN s.max_workers IS NULL THEN 'The server has not loaded taskq: add it to shared_preload_libraries and restart the server.'
	WHEN pg_is_in_recovery() THEN 'The server is a standby.'
	WHEN s.launcher IS NULL THEN 'taskq''s launcher is not there: the server has just started or is being stopped.'
	WHEN s.max_workers = 0 THEN 'taskq.max_workers is 0.'
	WHEN NOT EXISTS (SELECT FROM regexp_split_to_table(current_setting('taskq.databases', true), ',') d(name)
			WHERE btrim(d.name, ' "') IN ('*', current_database())) THEN 'taskq.databases does not name this database.'
	END) n(why)
CROSS JOIN (SELECT count(*) AS n FROM taskq_internal.lane n
	WHERE n.system <> (SELECT system_identifier FROM pg_control_system())
		OR n.database <> (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) f
CROSS JOIN (SELECT coalesce(sum(l.waiting), 0) AS waiting, coalesce(sum(l.running), 0) AS running FROM taskq_internal.lanes() l) l
$$;
COMMENT ON FUNCTION taskq.sitrep() IS
'Situation report: is taskq running, and if not, why

One JSON object: processes, what waits and runs, what is paused and what to do about it. Members that begin with why_ are null when there is nothing to say.';

