/* ---------------------------------------------------------------- overview */

CREATE FUNCTION taskq_internal.server(
	OUT paused bool, OUT start_paused bool, OUT launcher int4, OUT dispatcher int4, OUT workers int4, OUT max_workers int4,
	OUT quarantined uuid, OUT events_lost int8, OUT settings_read timestamptz)
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
			WHERE c.relnamespace = 'taskq_internal'::regnamespace AND a.attname = 'tenant' AND NOT a.attnotnull AND s.stanullfrac < 1) THEN
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
