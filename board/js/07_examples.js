/* Where there is nothing yet: the SQL that makes some. */

const EXAMPLES = {
	tasks: "SELECT taskq.task_submit('hello', '{\"name\": \"world\"}');",
	kinds: "CREATE FUNCTION hello(job jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT job';\nSELECT taskq.kind_define('hello', 'hello(jsonb)');",
	queues: "SELECT taskq.queue_define('mail', max_running => 2, description => 'Two at a time');",
	schedules: "SELECT taskq.schedule_define('nightly', 'hello', every => '1 day');",
	workers: "SELECT * FROM taskq.task_claim('worker 1', kinds => '{hello}');",
	alerts: "SELECT taskq.alert_define('long queue', 'queue_length', 1000);",
	templates: "SELECT taskq.template_define('two', '[{\"name\": \"first\", \"kind\": \"hello\"},\n\t{\"name\": \"second\", \"kind\": \"hello\", \"depends_on\": \"first\"}]');",
	workflows: "SELECT taskq.template_submit('two');",
	audit: "SELECT taskq.queue_pause('mail', 'the mail server moves');",
};

/* What would be here, and how it comes. */
function nothingYet(what, ...words) {
	return [h('p', {}, words), h('pre', { class: 'example' }, EXAMPLES[what])];
}
