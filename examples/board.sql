-- A shop's tasks, for the board to show: what "make board-demo" runs after roles.sql.
--
-- As superuser.  Handlers belong to app_owner and run as app_runner; users of the API submit.

\set ON_ERROR_STOP 1
SET client_min_messages = warning;
CREATE SCHEMA shop AUTHORIZATION app_owner;
GRANT USAGE ON SCHEMA shop TO app_runner;
SET ROLE app_owner;

-- What is down, and therefore fails.
CREATE TABLE shop.service (name text PRIMARY KEY, up bool NOT NULL);
INSERT INTO shop.service VALUES ('mail', false), ('scanner', false);
GRANT SELECT ON shop.service TO app_runner;

/* ------------------------------------------------------------ handlers */

CREATE FUNCTION shop.import_orders(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	orders constant int := 5 + random() * 20;
BEGIN
	PERFORM taskq.log(format('%s new orders', orders));
	PERFORM pg_sleep(0.2 + random() * 0.6);
	RETURN jsonb_build_object('orders', orders);
END
$$;

CREATE FUNCTION shop.resize_image(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.2 + random());
	IF job->>'file' LIKE '%.bmp' THEN
		RAISE EXCEPTION 'cannot read image "%"', job->>'file' USING ERRCODE = 'data_exception',
			DETAIL = 'Format "bmp" is not among jpeg, png, webp.', HINT = 'Convert it, and submit the task with the other file.';
	END IF;
	RETURN jsonb_build_object('file', job->>'file', 'width', 640);
END
$$;

-- Fails as long as the mail server is away.
CREATE FUNCTION shop.send_invoice(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.log(format('invoice %s to %s', job->>'invoice', job->>'to'));
	IF NOT (SELECT up FROM shop.service WHERE name = 'mail') THEN
		RAISE EXCEPTION 'connection to mail.example.com:587 refused' USING ERRCODE = 'connection_failure',
			DETAIL = format('Invoice %s was not sent.', job->>'invoice'), HINT = 'Is the mail server up? Retry when it is.';
	END IF;
	PERFORM pg_sleep(0.1);
	RETURN jsonb_build_object('sent', job->>'to');
END
$$;

-- Minutes, in phases, with steps that fail now and then.
CREATE FUNCTION shop.monthly_report(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	upto constant int := coalesce(job->>'shops', '600');
	bad int := 0;
BEGIN
	FOR i IN 1 .. upto LOOP
		PERFORM taskq.progress(i, upto, format('shop %s of %s', i, upto),
			phase => CASE WHEN i <= upto * 0.7 THEN 'collecting' WHEN i <= upto * 0.9 THEN 'adding up' ELSE 'writing' END);
		IF i % 75 = 0 THEN
			PERFORM taskq.step_failed(format('shop %s', i), 'has sent no figures'), taskq.log(format('shop %s has sent no figures', i), 'warning', jsonb_build_object('shop', i));
			bad := bad + 1;
		ELSIF i % 10 = 0 THEN
			PERFORM taskq.log(format('%s shops are in', i));
		END IF;
		PERFORM pg_sleep(0.2);
	END LOOP;
	RETURN jsonb_build_object('shops', upto, 'without figures', bad);
END
$$;

-- The steps of a workflow; step "scan" needs its service.
CREATE FUNCTION shop.upload_step(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 10 LOOP
		PERFORM taskq.progress(i, 10, format('%s of %s', job->>'do', job->>'file'));
		PERFORM pg_sleep(0.1);
	END LOOP;
	IF job->>'do' = 'scan' AND NOT (SELECT up FROM shop.service WHERE name = 'scanner') THEN
		PERFORM taskq.fail('the scanner has no signatures: update them, then retry');
	END IF;
	RETURN job;
END
$$;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA shop FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA shop TO app_runner;

/* ------------------------------------------------------------ kinds, queues, templates */

SELECT taskq.kind_define('import_orders', 'shop.import_orders(jsonb)', run_as => 'app_runner', category => 'orders', description => 'Fetches new orders');
SELECT taskq.kind_define('send_invoice', 'shop.send_invoice(jsonb)', run_as => 'app_runner', queue => 'mail', category => 'orders', max_attempts => 2, backoff => '500 ms', description => 'Sends an invoice by mail');
SELECT taskq.kind_define('resize_image', 'shop.resize_image(jsonb)', run_as => 'app_runner', queue => 'images', category => 'media', max_attempts => 1, description => 'Makes a small picture of a large one');
SELECT taskq.kind_define('monthly_report', 'shop.monthly_report(jsonb)', run_as => 'app_runner', category => 'reports', max_attempts => 1, max_running => 1, description => 'Adds up the figures of all shops');
SELECT taskq.kind_define('archive', 'shop.import_orders(jsonb)', run_as => 'app_runner', queue => 'archive', category => 'orders', description => 'Puts old orders away');
SELECT taskq.kind_define('upload_step', 'shop.upload_step(jsonb)', run_as => 'app_runner', category => 'media', max_attempts => 1);
SELECT taskq.kind_define('transcode_video', queue => 'video', category => 'media', timeout => '10 min', description => 'Makes a video smaller');
SELECT taskq.kind_grant(name, 'web_user') FROM taskq.kind WHERE owner = 'app_owner';

RESET ROLE;
SELECT taskq.queue_define('images', max_running => 2, description => 'Two pictures at a time'), taskq.queue_define('mail', rate => 20, rate_period => '1 s'),
	taskq.queue_define('video'), taskq.queue_define('archive');
SELECT taskq.queue_pause('archive', 'the disk of the archive is replaced');
SELECT taskq.template_define('upload', '[{"name": "receive", "kind": "upload_step", "payload": {"do": "receive", "file": {"$input": "file"}}},
	{"name": "scan", "kind": "upload_step", "payload": {"do": "scan", "file": {"$input": "file"}}, "depends_on": "receive"},
	{"name": "thumbnail", "kind": "upload_step", "payload": {"do": "thumbnail", "file": {"$input": "file"}}, "depends_on": "receive"},
	{"name": "index", "kind": "upload_step", "payload": {"do": "index", "file": {"$input": "file"}}, "depends_on": "receive"},
	{"name": "publish", "kind": "upload_step", "payload": {"do": "publish", "file": {"$input": "file"}}, "depends_on": ["scan", "thumbnail", "index"]}]');
SELECT taskq.alert_define('invoices fail', 'failures', 20, "window" => '1 hour', kind => 'send_invoice', description => 'More than twenty attempts in an hour');
SELECT taskq.alert_define('long queue', 'queue_length', 1000);

SET ROLE web_operator;
SELECT taskq.schedule_define('orders', 'import_orders', every => '3 s', description => 'Every three seconds');
SELECT taskq.schedule_define('report', 'monthly_report', every => '1 min', description => 'As soon as the one before has ended');
SELECT taskq.schedule_define('cleanup', 'archive', every => '1 day', enabled => false, description => 'Switched off');
RESET ROLE;
RESET client_min_messages;
