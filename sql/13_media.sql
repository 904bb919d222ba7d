/* ---------------------------------------------------------------- media types */

-- PostgREST answers with a function's text as it is, and with this Content-Type, where the
-- function returns a type of that name.
-- One that is called */* is for whatever the client accepts, and says itself what it answers.
CREATE DOMAIN taskq."*/*" AS text;
COMMENT ON DOMAIN taskq."*/*" IS 'text that PostgREST answers with as it is, whatever the client accepts';
CREATE DOMAIN taskq."text/plain" AS text;
COMMENT ON DOMAIN taskq."text/plain" IS 'text that PostgREST answers with as it is';
CREATE DOMAIN taskq."text/html" AS text;
COMMENT ON DOMAIN taskq."text/html" IS 'a page that PostgREST answers with as it is';
