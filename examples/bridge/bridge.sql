-- What the bridge needs in the database: its roles, the registered webhooks, their deliveries.
--
--     psql -d app -v bridge_password=... -f examples/roles.sql -f examples/bridge/bridge.sql
--
-- As superuser, after examples/roles.sql.  Can be run again; without bridge_password the password
-- stays as it is.
--
--   bridge          logs in; sees that a task has news, and that one has ended (taskq_monitor);
--                   delivers to webhooks.  What a client or a webhook is sent is read by
--                   authenticator, as the role and with the claims of the token
--   bridge_owner    owns schema bridge and the kind of deliveries; nobody logs in as it

\set ON_ERROR_STOP 1
SET client_min_messages = warning;
BEGIN;
SET LOCAL log_statement = none;
SET LOCAL log_min_duration_statement = -1;

DO $$
BEGIN
	IF to_regrole('bridge') IS NULL THEN
		CREATE ROLE bridge;
	END IF;
	IF to_regrole('bridge_owner') IS NULL THEN
		CREATE ROLE bridge_owner;
	END IF;
END
$$;
ALTER ROLE bridge LOGIN;
\if :{?bridge_password}
ALTER ROLE bridge PASSWORD :'bridge_password';
\endif
ALTER ROLE bridge SET jit = off;
GRANT taskq_monitor, taskq_worker TO bridge;
-- Deliveries are submitted, and looked at, by functions of bridge_owner on behalf of everybody.
GRANT taskq_operator TO bridge_owner;
CREATE SCHEMA IF NOT EXISTS bridge AUTHORIZATION bridge_owner;
COMMENT ON SCHEMA bridge IS 'Webhooks of taskq';
SET LOCAL ROLE bridge_owner;

/* ------------------------------------------------------------ watching */

-- The progress of many tasks; no progress for one that there is not (any more).
CREATE OR REPLACE FUNCTION bridge.look(ids uuid[], OUT id uuid, OUT progress jsonb)
RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	FOREACH id IN ARRAY ids LOOP
		BEGIN
			progress := taskq.task_progress(id);
		EXCEPTION WHEN SQLSTATE 'PT404' THEN
			progress := NULL;
		END;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION bridge.look IS 'Progress of many tasks at once';

/* ------------------------------------------------------------ webhooks */

-- A webhook sees what who registered it sees: its tasks are read as that role, with these claims.
CREATE TABLE IF NOT EXISTS bridge.webhook (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	url text NOT NULL CHECK (length(url) <= 2000 AND url ~ '^https?://[^/?#@[:space:][:cntrl:]]+([/?][^#[:space:][:cntrl:]]*)?$'),
	secret text NOT NULL CHECK (secret ~ '^whsec_[A-Za-z0-9+/]{32,}=*$'),
	role name NOT NULL,
	claims jsonb NOT NULL,
	tenant text,
	everything bool NOT NULL,	-- of all tenants
	kinds text[],	-- null: any
	queues text[],
	states text[] CHECK (states <@ ARRAY['completed', 'failed', 'cancelled']),
	words text,	-- one of the bridge's BRIDGE_WORDS; null: taskq's
	description text,
	enabled bool NOT NULL DEFAULT true,
	why_disabled text,
	created_at timestamptz NOT NULL DEFAULT now()
);
-- How far the feed has been read.
CREATE TABLE IF NOT EXISTS bridge.feed (
	"only" bool PRIMARY KEY DEFAULT true CHECK ("only"),
	cursor text,
	missed_at timestamptz	-- when events were gone before they were read: the bridge was away too long
);
INSERT INTO bridge.feed DEFAULT VALUES ON CONFLICT DO NOTHING;

-- An attempt is made at once, and after about 10 s, 20 s, … 1 h: eleven more within half a day.
SELECT taskq.queue_define('bridge', description => 'what the bridge delivers');
SELECT taskq.kind_define('bridge.deliver', NULL, queue => 'bridge', max_attempts => 12, backoff => '10 s', backoff_max => '3 h',
	max_running_per_key => 4, retention => '30 days', description => 'POST of a finished task''s status to a webhook')
WHERE NOT EXISTS (SELECT FROM taskq.kind WHERE name = 'bridge.deliver');
SELECT taskq.kind_grant('bridge.deliver', 'bridge', 'work');

/* ------------------------------------------------------------ for the bridge */

-- Moves on in the feed: submits a delivery for each event and webhook that wants it.  All of it
-- happens or nothing.  Says whether there is more.
CREATE OR REPLACE FUNCTION bridge.collect(n int DEFAULT 1000)
RETURNS bool LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	feed bridge.feed;
	page jsonb;
BEGIN
	SELECT * INTO feed FROM bridge.feed FOR UPDATE;		-- another bridge waits here, and goes on after us
	BEGIN
		page := taskq.events_since(feed.cursor, '0', n);
	EXCEPTION WHEN SQLSTATE 'PT410' THEN
		RAISE WARNING 'events were missed: the webhooks go on from now' USING DETAIL = SQLERRM,
			HINT = 'Raise taskq.event_retention, or let the bridge run always.';
		page := taskq.events_since();
		UPDATE bridge.feed SET missed_at = clock_timestamp();
	END;
	PERFORM taskq.task_submit('bridge.deliver',
		jsonb_build_object('webhook', w.id, 'task', e ->> 'task_id', 'kind', e ->> 'kind', 'state', e ->> 'state'),
		concurrency_key => w.id::text)
	FROM jsonb_array_elements(page -> 'events') WITH ORDINALITY AS x (e, no) JOIN bridge.webhook w ON w.enabled
		AND (w.kinds IS NULL OR e ->> 'kind' = ANY (w.kinds))
		AND (w.queues IS NULL OR e ->> 'queue' = ANY (w.queues))
		AND (w.states IS NULL OR e ->> 'state' = ANY (w.states))
		-- what else may not be seen is found out when the task is read
		AND (w.everything OR e ->> 'tenant' = w.tenant)
	WHERE e ->> 'kind' <> 'bridge.deliver'
	ORDER BY x.no;
	UPDATE bridge.feed SET cursor = page ->> 'cursor' WHERE cursor IS DISTINCT FROM page ->> 'cursor';
	RETURN (page ->> 'more')::bool;
END
$$;
COMMENT ON FUNCTION bridge.collect IS 'Submits the deliveries of the next events';

CREATE OR REPLACE FUNCTION bridge.webhook_gone(webhook uuid)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
'UPDATE bridge.webhook SET enabled = false, why_disabled = ''it answered 410'' WHERE id = $1';
COMMENT ON FUNCTION bridge.webhook_gone IS 'Disables a webhook whose receiver does not want more';

/* ------------------------------------------------------------ for operators */

-- Who calls, also a function that runs as its owner.  Claims are believed only where taskq
-- believes them, for they become those of the webhook.  everything: of all tenants.
CREATE OR REPLACE FUNCTION bridge.caller(OUT role name, OUT claims jsonb, OUT tenant text, OUT everything bool)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	claim text := current_setting('taskq.tenant_claim');
	path text[] := string_to_array(claim, '.');
	said jsonb := coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb;
	kept jsonb;
BEGIN
	role := coalesce(nullif(current_setting('role'), 'none'), session_user);
	everything := pg_has_role(role, 'taskq_operator', 'MEMBER');
	IF session_user = ANY (regexp_split_to_array(trim(current_setting('taskq.trusted_gateways')), '\s*,\s*')) THEN
		tenant := coalesce(said ->> claim, said #>> path);
		kept := tenant_member.it FROM (SELECT CASE WHEN tenant IS NULL THEN '{}'
			WHEN said ? claim THEN jsonb_build_object(claim, tenant)
			ELSE (SELECT (string_agg(format('{%s: ', to_json(part)), '' ORDER BY no) || to_json(tenant) || repeat('}', cardinality(path)))::jsonb
				FROM unnest(path) WITH ORDINALITY AS p (part, no)) END AS it) tenant_member;
		claims := jsonb_strip_nulls(jsonb_build_object('role', role, 'sub', said -> 'sub')) || kept;
	ELSIF NOT everything THEN
		RAISE EXCEPTION 'webhooks of a tenant are registered over HTTP' USING ERRCODE = '42501',
			DETAIL = format('Role "%s" is not in taskq.trusted_gateways.', session_user);
	ELSE
		claims := jsonb_build_object('role', role);
	END IF;
	IF NOT everything AND tenant IS NULL THEN
		RAISE EXCEPTION 'no tenant' USING ERRCODE = 'PT403',
			DETAIL = format('Claim "%s" is missing.', claim), HINT = 'Webhooks of all tenants are for members of taskq_operator.';
	END IF;
END
$$;

CREATE OR REPLACE FUNCTION bridge.mine(w bridge.webhook, c record)
RETURNS bool LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
'BEGIN RETURN c.everything OR (NOT w.everything AND w.tenant = c.tenant); END';

CREATE OR REPLACE FUNCTION bridge.webhook_define(url text, kinds text[] DEFAULT NULL, queues text[] DEFAULT NULL, states text[] DEFAULT NULL,
	description text DEFAULT NULL, words text DEFAULT NULL)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c record;
	made bridge.webhook;
BEGIN
	SELECT * INTO c FROM bridge.caller();
	IF NOT EXISTS (SELECT FROM pg_roles g WHERE pg_has_role(g.rolname, c.role, 'MEMBER') AND NOT g.rolsuper
		AND g.rolname = ANY (regexp_split_to_array(trim(current_setting('taskq.trusted_gateways')), '\s*,\s*')))
	THEN
		RAISE EXCEPTION 'tasks cannot be read as role "%"', c.role USING ERRCODE = '22023',
			DETAIL = 'No role in taskq.trusted_gateways is a member of it.', HINT = 'SET ROLE web_operator;';
	END IF;
	INSERT INTO bridge.webhook (url, secret, role, claims, tenant, everything, kinds, queues, states, words, description)
	VALUES (url, 'whsec_' || translate(encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'base64'), E'\n', ''),
		c.role, c.claims, c.tenant, c.everything, kinds, queues, states, words, description)
	RETURNING * INTO made;
	RETURN jsonb_build_object('id', made.id, 'secret', made.secret);
END
$$;
COMMENT ON FUNCTION bridge.webhook_define IS
'Register a URL that is told of finished tasks

Of those that the caller sees: its tenant''s, an operator''s all; of kinds, queues and states as named. Answers id and secret; the secret signs each request and is not shown again.';

CREATE OR REPLACE FUNCTION bridge.webhook_drop(id uuid)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM bridge.webhook w USING bridge.caller() c WHERE w.id = webhook_drop.id AND bridge.mine(w, c);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'webhook % does not exist', id USING ERRCODE = 'PT404';
	END IF;
END
$$;
COMMENT ON FUNCTION bridge.webhook_drop IS
'Forget a webhook

What waits to be delivered to it is not.';

CREATE OR REPLACE FUNCTION bridge.webhook_enable(id uuid, enabled bool DEFAULT true)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE bridge.webhook w SET enabled = coalesce(webhook_enable.enabled, true), why_disabled = NULL
	FROM bridge.caller() c WHERE w.id = webhook_enable.id AND bridge.mine(w, c);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'webhook % does not exist', id USING ERRCODE = 'PT404';
	END IF;
END
$$;
COMMENT ON FUNCTION bridge.webhook_enable IS
'Let a webhook be told again, or no more

Of what ends while it is disabled it is not told later.';

CREATE OR REPLACE FUNCTION bridge.webhooks_seen()
RETURNS SETOF bridge.webhook LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
'SELECT w.* FROM bridge.webhook w, bridge.caller() c WHERE bridge.mine(w, c)';
REVOKE ALL ON FUNCTION bridge.webhooks_seen FROM PUBLIC;

CREATE OR REPLACE VIEW bridge.webhooks AS
SELECT w.id, w.url, w.role, w.tenant, w.kinds, w.queues, w.states, w.words, w.description, w.enabled, w.why_disabled, w.created_at
FROM bridge.webhooks_seen() w;
COMMENT ON VIEW bridge.webhooks IS 'The registered webhooks, without their secrets';

-- What failed for good, until its retention is over.
CREATE OR REPLACE FUNCTION bridge.failed_deliveries(OUT delivery uuid, OUT webhook uuid, OUT url text, OUT task uuid, OUT kind text, OUT state text,
	OUT attempts int, OUT error text, OUT failed_at timestamptz)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT t.id, w.id, w.url, (t.payload ->> 'task')::uuid, t.payload ->> 'kind', t.payload ->> 'state', t.attempt, t.error ->> 'message', t.finished_at
	FROM taskq.task_list('{"kind": "bridge.deliver", "state": "failed"}', n => 1000) t
	JOIN bridge.webhook w ON w.id = (t.payload ->> 'webhook')::uuid
	WHERE bridge.mine(w, (SELECT c FROM bridge.caller() c))
$$;
REVOKE ALL ON FUNCTION bridge.failed_deliveries FROM PUBLIC;
CREATE OR REPLACE VIEW bridge.dead_letter AS SELECT * FROM bridge.failed_deliveries();
COMMENT ON VIEW bridge.dead_letter IS 'Deliveries that were given up, the newest 1000; bridge.replay makes them once more';

-- In a session of PostgREST's a task would become its user's tenant's; deliveries are nobody's.
CREATE OR REPLACE FUNCTION bridge.deliver_again(delivery uuid)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	claims text := current_setting('request.jwt.claims', true);
BEGIN
	PERFORM set_config('request.jwt.claims', '', true);
	PERFORM taskq.task_submit('bridge.deliver', t.payload, concurrency_key => t.payload ->> 'webhook') FROM taskq.task_status(delivery) t;
	PERFORM taskq.task_delete(delivery);
	PERFORM set_config('request.jwt.claims', coalesce(claims, ''), true);
END
$$;
REVOKE ALL ON FUNCTION bridge.deliver_again FROM PUBLIC;

CREATE OR REPLACE FUNCTION bridge.replay(delivery uuid DEFAULT NULL, webhook uuid DEFAULT NULL)
RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	again int;
BEGIN
	PERFORM bridge.deliver_again(d.delivery) FROM bridge.dead_letter d
	WHERE (d.delivery = replay.delivery OR replay.delivery IS NULL) AND (d.webhook = replay.webhook OR replay.webhook IS NULL);
	GET DIAGNOSTICS again = ROW_COUNT;
	IF again = 0 AND delivery IS NOT NULL THEN
		RAISE EXCEPTION 'delivery % is none that was given up', delivery USING ERRCODE = 'PT404';
	END IF;
	RETURN again;
END
$$;
COMMENT ON FUNCTION bridge.replay IS
'Make deliveries that were given up once more

One, those of a webhook, or all. Says how many.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA bridge FROM PUBLIC;
GRANT USAGE ON SCHEMA bridge TO bridge;
GRANT SELECT ON bridge.webhook TO bridge;
GRANT EXECUTE ON FUNCTION bridge.look, bridge.collect, bridge.webhook_gone TO bridge;

-- Who may register webhooks: operators.  Give the same to web_user if every user may have his own.
GRANT USAGE ON SCHEMA bridge TO web_operator, web_tenant_operator;
GRANT SELECT ON bridge.webhooks, bridge.dead_letter TO web_operator, web_tenant_operator;
GRANT EXECUTE ON FUNCTION bridge.webhooks_seen, bridge.failed_deliveries,
	bridge.webhook_define, bridge.webhook_drop, bridge.webhook_enable, bridge.replay
	TO web_operator, web_tenant_operator;
RESET ROLE;
COMMIT;
RESET client_min_messages;
NOTIFY pgrst;
