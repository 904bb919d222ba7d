-- The roles of an HTTP API over taskq, and a log-in that gives out tokens.
--
--     psql -d app -v authenticator_password=... -v jwt_secret=... -f examples/roles.sql
--
-- As superuser, in a database that has taskq.  Can be run again; what is not given stays as
-- it is.  A command line is for all to see who are on the machine: there, put
-- \set jwt_secret ... into a file that only you can read, and run psql -f that -f this.
--
--   authenticator_password   of the role that PostgREST logs in as
--   jwt_secret               32 characters or more, the same as PostgREST's jwt-secret.  If
--                            there is none yet, one is made: SELECT jwt_secret FROM auth.setting
--
-- Roles, the first of which logs in and becomes what a token names:
--
--   authenticator            PostgREST; by itself it may do nothing
--   web_anon                 no token: may log in, api.login(email, password)
--   web_user                 submits, sees and steers the tasks of its tenant
--   web_tenant_operator      ... and all else that is its tenant's
--   web_operator             sees and steers all
--   web_worker               claims and ends tasks of kinds that were given to it
--   app_owner                owns kinds and handlers; nobody logs in as it
--   app_runner               what these kinds run as (run_as)
--   auth_owner               owns the accounts and the secret; nobody logs in as it

\set ON_ERROR_STOP 1
SET client_min_messages = warning;
BEGIN;
-- Passwords are in the text of statements.
SET LOCAL log_statement = none;
SET LOCAL log_min_duration_statement = -1;

/* ------------------------------------------------------------ roles */

DO $$
DECLARE
	it text;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'taskq') THEN
		RAISE EXCEPTION 'there is no taskq in database "%"', current_database() USING HINT = 'CREATE EXTENSION taskq;';
	END IF;
	FOREACH it IN ARRAY ARRAY['authenticator', 'web_anon', 'web_user', 'web_tenant_operator', 'web_operator', 'web_worker',
		'app_owner', 'app_runner', 'auth_owner']
	LOOP
		IF to_regrole(it) IS NULL THEN
			EXECUTE format('CREATE ROLE %I', it);
		END IF;
	END LOOP;
END
$$;

ALTER ROLE authenticator LOGIN NOINHERIT;
\if :{?authenticator_password}
ALTER ROLE authenticator PASSWORD :'authenticator_password';
\endif
-- Requests are short: compiling them takes longer than it saves.  A wait (task_wait) ends with
-- what there is before the timeout does.
ALTER ROLE authenticator SET jit = off;
ALTER ROLE authenticator SET statement_timeout = '30s';
ALTER ROLE authenticator SET idle_in_transaction_session_timeout = '30s';

-- Workers of the server have sessions of this role; without a password nobody else has.
ALTER ROLE app_runner LOGIN;

GRANT web_anon, web_user, web_tenant_operator, web_operator, web_worker TO authenticator;
-- What is given to users is for operators as well: kinds, and functions of yours.
GRANT web_user TO web_tenant_operator, web_operator;
GRANT app_runner TO app_owner;
GRANT taskq_developer TO app_owner;
GRANT taskq_user TO app_runner;
GRANT taskq_operator TO web_operator;
GRANT taskq_worker TO web_worker;
GRANT taskq_web TO web_user;
GRANT taskq_tenant_operator TO web_tenant_operator;

/* ------------------------------------------------------------ whom taskq believes */

-- What authenticator's sessions say of whom they act for is believed; claim "tenant" says
-- whose tasks these are.  Settings of a database are in what pg_dump --create and pg_dumpall
-- write, ALTER SYSTEM's are not.
DO $$
DECLARE
	gateways text := current_setting('taskq.trusted_gateways', true);
BEGIN
	IF 'authenticator' <> ALL (regexp_split_to_array(trim(coalesce(gateways, '')), '\s*,\s*')) THEN
		gateways := concat_ws(', ', nullif(trim(gateways), ''), 'authenticator');
	END IF;
	EXECUTE format('ALTER DATABASE %I SET taskq.trusted_gateways = %L', current_database(), gateways);
	EXECUTE format('ALTER DATABASE %I SET taskq.tenant_claim = %L', current_database(), 'tenant');
	-- One tenant does not use up taskq.max_pending_per_role for all.
	IF current_setting('taskq.max_pending_per_tenant', true) = '0' THEN
		EXECUTE format('ALTER DATABASE %I SET taskq.max_pending_per_tenant = 100000', current_database());
	END IF;
END
$$;

/* ------------------------------------------------------------ accounts */

-- auth is not for PostgREST to show; only its owner reads what is in it.
CREATE SCHEMA IF NOT EXISTS auth AUTHORIZATION auth_owner;
CREATE EXTENSION IF NOT EXISTS pgcrypto SCHEMA auth;
SELECT extnamespace::regnamespace AS crypto FROM pg_extension WHERE extname = 'pgcrypto' \gset
GRANT USAGE ON SCHEMA :crypto TO auth_owner;
SET LOCAL ROLE auth_owner;

CREATE TABLE IF NOT EXISTS auth.account (
	email text PRIMARY KEY CHECK (email = lower(email) AND email <> ''),
	password text NOT NULL CHECK (password LIKE '$2_$__$%'),	-- crypt(), never the password itself
	role name NOT NULL,
	tenant text CHECK (tenant <> '')
);
CREATE TABLE IF NOT EXISTS auth.setting (
	"only" bool PRIMARY KEY DEFAULT true CHECK ("only"),
	jwt_secret text NOT NULL CHECK (octet_length(jwt_secret) >= 32),
	expires interval NOT NULL DEFAULT '1 hour' CHECK (expires > '0')
);
\if :{?jwt_secret}
INSERT INTO auth.setting (jwt_secret) VALUES (:'jwt_secret') ON CONFLICT ("only") DO UPDATE SET jwt_secret = excluded.jwt_secret;
\else
INSERT INTO auth.setting (jwt_secret) VALUES (encode(:crypto.gen_random_bytes(32), 'hex')) ON CONFLICT DO NOTHING;
\endif

-- New account, or another password, role or tenant for one.  Who uses the API for himself has
-- himself as tenant; operators of all and workers need none.
CREATE OR REPLACE FUNCTION auth.account_set(email text, password text, role name DEFAULT 'web_user', tenant text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, :crypto, pg_temp AS $$
BEGIN
	IF octet_length(password) NOT BETWEEN 8 AND 72 THEN
		RAISE EXCEPTION 'password has less than 8 or more than 72 bytes' USING ERRCODE = '22023';
	ELSIF NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.member = 'authenticator'::regrole AND m.roleid = to_regrole(quote_ident(role))) THEN
		RAISE EXCEPTION 'role "%" was not granted to authenticator', role USING ERRCODE = '22023', HINT = format('GRANT %I TO authenticator;', role);
	END IF;
	INSERT INTO auth.account AS a
	VALUES (lower(email), crypt(password, gen_salt('bf', 10)), role,
		coalesce(tenant, CASE WHEN role IN ('web_user', 'web_tenant_operator') THEN lower(email) END))
	ON CONFLICT ON CONSTRAINT account_pkey DO UPDATE SET password = excluded.password, role = excluded.role, tenant = excluded.tenant;
END
$$;

-- Signed by HS256.  Also for tokens of workers and tests: who may call it may be anybody.
CREATE OR REPLACE FUNCTION auth.token(role text, sub text, tenant text DEFAULT NULL, expires interval DEFAULT NULL)
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, :crypto, pg_temp AS $$
	SELECT t.text || '.' || translate(encode(hmac(convert_to(t.text, 'UTF8'), convert_to(s.jwt_secret, 'UTF8'), 'sha256'), 'base64'), E'+/=\n', '-_')
	FROM auth.setting s,
		LATERAL (SELECT jsonb_strip_nulls(jsonb_build_object('role', $1, 'sub', $2, 'tenant', $3,
			'exp', extract(epoch FROM clock_timestamp() + coalesce($4, s.expires))::bigint)) AS claims) c,
		LATERAL (SELECT string_agg(translate(encode(convert_to(part, 'UTF8'), 'base64'), E'+/=\n', '-_'), '.' ORDER BY no) AS text
			FROM (VALUES (1, '{"alg":"HS256","typ":"JWT"}'), (2, c.claims::text)) p (no, part)) t
$$;

-- A wrong address takes as long as a wrong password.
CREATE OR REPLACE FUNCTION auth.login(email text, password text)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, :crypto, pg_temp AS $$
DECLARE
	account auth.account;
	hash text;
BEGIN
	-- an address with a password in it is in logs and histories
	IF upper(current_setting('request.method', true)) IN ('GET', 'HEAD') THEN
		RAISE EXCEPTION 'log in by POST' USING ERRCODE = 'PT405';
	END IF;
	SELECT * INTO account FROM auth.account a WHERE a.email = lower(login.email);
	hash := crypt(coalesce(password, ''), coalesce(account.password, gen_salt('bf', 10)));
	IF account.password IS NULL OR password IS NULL OR hash <> account.password THEN
		RAISE EXCEPTION 'wrong email or password' USING ERRCODE = 'PT401';
	END IF;
	RETURN (SELECT jsonb_build_object('access_token', auth.token(account.role, account.email, account.tenant),
			'token_type', 'bearer', 'expires_in', extract(epoch FROM s.expires)::bigint)
		FROM auth.setting s);
END
$$;
REVOKE ALL ON FUNCTION auth.account_set, auth.token, auth.login FROM PUBLIC;
RESET ROLE;

/* ------------------------------------------------------------ what HTTP sees */

-- Put functions of your own here, too.
CREATE SCHEMA IF NOT EXISTS api;
GRANT USAGE ON SCHEMA api TO web_anon, web_user, web_worker;
CREATE OR REPLACE FUNCTION api.login(email text, password text)
RETURNS jsonb LANGUAGE sql VOLATILE AS 'SELECT auth.login(email, password)';
COMMENT ON FUNCTION api.login IS
'Log in

Answers {"access_token", "token_type", "expires_in"}: send header "Authorization: Bearer <access_token>" with each request until expires_in seconds are over. 401 when email or password is wrong.';
REVOKE ALL ON FUNCTION api.login FROM PUBLIC;
GRANT USAGE ON SCHEMA auth TO web_anon, web_user, web_worker;
GRANT EXECUTE ON FUNCTION auth.login, api.login TO web_anon, web_user, web_worker;
-- The page of the board, which has no data by itself.
GRANT USAGE ON SCHEMA taskq TO web_anon;
GRANT EXECUTE ON FUNCTION taskq.board() TO web_anon;
COMMIT;
RESET client_min_messages;
NOTIFY pgrst;
