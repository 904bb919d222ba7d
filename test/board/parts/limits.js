/* Limits of kinds and queues; the audit, filtered and back to the beginning. */
'use strict';

const axe = require('fs').readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const { answers, asks, call, count, field, fill, handled, has, is, ok, open, press, sql, text, until, where, window_ } = require('../lib.js');

const kind = () => sql("SELECT concat_ws(' ', coalesce(max_running::text, '-'), coalesce(rate::text, '-'), rate_period, max_running_per_key) FROM taskq.kind WHERE name = 'board_limited'");
const queue = () => sql("SELECT concat_ws(' ', coalesce(max_running::text, '-'), coalesce(rate::text, '-'), rate_period, coalesce(reserved::text, '-'), retention, description) FROM taskq.queue WHERE name = 'board_limited'");
const value = async (page, label) => (await field(page, label)).evaluate((node) => node.value);
const gone = (page) => page.waitForFunction(() => !document.querySelector('dialog'));

async function faultless(page, name) {
	await (await page.createCDPSession()).send('Runtime.evaluate', { expression: axe });
	is(await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ['violations'] })).violations.map((one) => one.impact + ' ' + one.id + ': ' + one.nodes[0].html.slice(0, 160))
		.filter((one) => /^(serious|critical)/.test(one))), [], 'accessible: ' + name);
}

async function choose(page, label, wanted) {
	await (await field(page, label)).select(wanted);
}

/* Acts as of then, the newest first. */
function acts(n, more) {
	sql("INSERT INTO taskq_internal.audit (id, verb, object, count, by_role, pid, force, reason) SELECT (lpad(to_hex((extract(epoch FROM now() - interval '" + more.age + "') * 1000)::bigint - i), 12, '0') || '70008000' || lpad(to_hex(i), 12, '0'))::uuid, '"
		+ more.verb + "', 'worker', 0, (SELECT by_role FROM taskq_internal.audit ORDER BY id DESC LIMIT 1), 1, false, '" + more.reason + " ' || i FROM generate_series(1, " + n + ') i');
}

module.exports = {
	async limits() {
		sql('DELETE FROM taskq_internal.audit');
		sql("SELECT taskq.kind_define('board_limited', 'board.quick(jsonb)', run_as => 'app_runner', max_attempts => 7), taskq.kind_grant('board_limited', 'web_tenant_operator'), taskq.queue_define('board_limited', retention => '1 day', description => 'as it was')");
		const page = await window_('operator');
		await open(page, '#/kinds');
		const row = 'tr[data-key=board_limited]';
		await page.waitForSelector(row + ' button');
		await press(page, 'Limits \u2026', row);
		is(await value(page, 'Running at a time'), '', 'a kind without limits');
		await faultless(page, 'the dialog of limits');
		await fill(page, 'Running at a time', '3');
		await fill(page, 'Reason', 'for the board');
		await press(page, 'Set limits', 'dialog');
		await has(page, 'at most 3 at a time', row);
		is(kind() + ' ' + sql("SELECT max_attempts FROM taskq.kind WHERE name = 'board_limited'"), '3 - 00:00:01 1 7', 'a limit is set, and nothing else');
		is(sql("SELECT concat_ws(' ', claims->>'sub', reason, details) FROM taskq.audit WHERE action = 'limit' AND name = 'board_limited'"), 'operator@example.com for the board {"max_running": {"new": "3"}}', '... on record');

		await press(page, 'Limits \u2026', row);
		is(await value(page, 'Running at a time'), '3', 'it is what the dialog begins with');
		await press(page, 'Set limits', 'dialog');
		await has(page, 'No limit is changed.', 'dialog');
		await call('operator', 'kind_limit', { name: 'board_limited', rate: 5 });
		await fill(page, 'Of one concurrency key', '2');
		await press(page, 'Set limits', 'dialog');
		await has(page, 'at most 3 at a time, 5 in 1 s, 2 of a key', row);
		is(kind(), '3 5 00:00:01 2', 'who changes another limit at the same moment is not undone');

		await press(page, 'Limits \u2026', row);
		await fill(page, 'Period', 'a while');
		await press(page, 'Set limits', 'dialog');
		await has(page, 'invalid input syntax for type interval: "a while"', 'dialog [role=alert]');
		is(await page.evaluate(() => document.activeElement.value + ' ' + document.activeElement.getAttribute('aria-invalid')), 'a while true', 'a mistake is told, at its field');
		await fill(page, 'Period', '0 s');
		await press(page, 'Set limits', 'dialog');
		await has(page, 'rate_period must be at least a millisecond', 'dialog [role=alert]');
		is(await page.evaluate(() => document.activeElement.value), '0 s', '... also by the server\'s argument');
		await fill(page, 'Period', '1 min');
		await fill(page, 'Running at a time', '0');
		await press(page, 'Set limits', 'dialog');
		is(await count(page, 'dialog input:invalid'), 1, 'none at a time is no limit');
		await fill(page, 'Running at a time', '');
		await press(page, 'Set limits', 'dialog');
		await gone(page);
		await until(async () => !/at most/.test(await text(page, row)), 'an empty field takes the limit away');
		is(kind(), '- 5 00:01:00 2', '... and the others stay');

		/* by keyboard */
		await page.waitForFunction((one) => {
			const button = Array.from(document.querySelectorAll(one + ' button')).find((node) => node.textContent.startsWith('Limits'));
			button.focus();
			return document.activeElement === button;
		}, {}, row);
		await page.keyboard.press('Enter');
		await page.waitForSelector('dialog[open]');
		is(await page.evaluate(() => document.activeElement.closest('label').firstChild.textContent), 'Running at a time', 'by keyboard: the first field has the focus');
		await page.keyboard.type('4');
		await page.keyboard.press('Enter');
		await has(page, 'at most 4 at a time', row);
		is(await page.evaluate(() => document.activeElement.textContent), 'Limits \u2026 board_limited', '... and its button afterwards');

		await open(page, '#/queues');
		await page.waitForSelector(row + ' button');
		await press(page, 'Limits \u2026', row);
		await call('operator', 'queue_limit', { name: 'board_limited', max_running: 6 });
		await fill(page, 'Started in a period', '10');
		await fill(page, 'Period', '1 min');
		await fill(page, 'Workers reserved', '1');
		await press(page, 'Set limits', 'dialog');
		await has(page, 'at most 6 at a time, 10 in 1 min, 1 places reserved', row);
		is(queue(), '6 10 00:01:00 1 1 day as it was', 'of a queue too, and all else stays');
		await press(page, 'Limits \u2026', row);
		await fill(page, 'Workers reserved', '');
		await fill(page, 'Started in a period', '');
		await press(page, 'Set limits', 'dialog');
		await gone(page);
		is(queue(), '6 - 00:01:00 - 1 day as it was', '... some are taken away');

		/* of a server that does not say what he may */
		const boss = await window_('boss');
		await answers(boss);
		boss.answer = (request) => (asks('rights')(request) ? { status: 404, body: { code: 'PGRST202', message: 'Could not find the function taskq.rights' } } : null);
		await open(boss, '#/kinds');
		await boss.waitForSelector(row + ' button');
		await press(boss, 'Limits \u2026', row);
		await fill(boss, 'Running at a time', '1');
		await press(boss, 'Set limits', 'dialog');
		await has(boss, 'permission denied for function kind_limit', 'dialog [role=alert]');
		is(kind(), '4 5 00:01:00 2', 'who may not is told so');
		sql("SELECT taskq.kind_drop('board_limited'), taskq.queue_drop('board_limited')");
		await boss.browserContext().close();
		await page.browserContext().close();
	},

	async audit() {
		const rows = (page) => count(page, 'main tbody tr');
		const hard = '50%, "really" (so_so) \\ ok';
		sql('DELETE FROM taskq_internal.audit');
		sql("SELECT taskq.kind_define('board_audited', 'board.quick(jsonb)', run_as => 'app_runner'), taskq.kind_grant('board_audited', 'web_user')");
		await call('operator', 'kind_limit', { name: 'board_audited', max_running: 5, reason: hard });
		await call('operator', 'kind_limit', { name: 'board_audited', max_running: 2, reason: hard.replace('%', 'x').replace('_', '-') });
		await call('operator', 'kind_pause', { name: 'board_audited' });
		await call('operator', 'kind_resume', { name: 'board_audited' });
		const id = await call('alice', 'task_submit', { kind: 'board_audited', delay: '1 hour' });
		await call('alice', 'task_cancel', { id, reason: 'acme only' });
		const page = await window_('operator', { pace: 4 });
		await open(page, '#/audit?action=limit&text=board_audited');
		await has(page, '2 acts', 'main');
		is(await value(page, 'What') + ' ' + await value(page, 'In reason'), 'limit board_audited', 'the filter is what the address says');
		await has(page, 'max_running: 5 \u2192 2', 'main tbody');
		await faultless(page, 'the audit');
		await choose(page, 'What', 'pause');
		await has(page, '1 act', 'main');
		is(await where(page), '#/audit?action=pause&text=board_audited', '... and the other way round');
		await choose(page, 'What', '');
		await has(page, '7 acts', 'main');
		await fill(page, 'In reason', hard);
		await has(page, '1 act', 'main');
		ok((await text(page, 'main tbody')).includes(hard), 'any letters are found as they are');
		await fill(page, 'In reason', id);
		await has(page, '1 act', 'main');
		await has(page, 'acme only', 'main tbody');
		await press(page, 'Clear', 'main');
		await until(async () => (await where(page)) === '#/audit', 'without a filter');
		await fill(page, 'Who', 'alice@example.com');
		await choose(page, 'What', 'cancel');
		await choose(page, 'Of', 'task');
		await fill(page, 'In reason', 'acme only');
		await until(async () => (await rows(page)) === 1, 'by who, what, of what');
		await fill(page, 'Who', 'nobody@example.com');
		await has(page, 'Nothing of that is on record.', 'main');

		/* time */
		acts(3, { age: '3 days', verb: 'restart', reason: 'long ago' });
		acts(2, { age: '10 minutes', verb: 'restart', reason: 'just now' });
		await open(page, '#/audit?action=restart');
		await has(page, '5 acts', 'main');
		await choose(page, 'Time', '1 hour');
		await has(page, '2 acts', 'main');
		await choose(page, 'Time', '7 days');
		await has(page, '5 acts', 'main');
		await open(page, '#/audit?action=restart&from=' + new Date(Date.now() - 4 * 86400000).toISOString().slice(0, 16) + '&until=' + new Date(Date.now() - 2 * 86400000).toISOString().slice(0, 16));
		await has(page, '3 acts', 'main');
		await open(page, '#/audit?from=nonsense');
		await has(page, 'invalid input syntax for type timestamp', 'main [role=alert]');

		/* back to the beginning */
		acts(450, { age: '1 minute', verb: 'stop', reason: 'many' });
		await open(page, '#/audit?action=stop');
		await has(page, '200 acts, the newest.', 'main');
		await press(page, 'Earlier ones', 'main');
		await has(page, '400 acts, the newest.', 'main');
		acts(1, { age: '0 s', verb: 'stop', reason: 'one more' });
		await has(page, 'one more 1', 'main tbody tr:first-child');
		await press(page, 'Earlier ones', 'main');
		await has(page, '451 acts.', 'main');
		is(await page.evaluate(() => new Set(Array.from(document.querySelectorAll('main tbody tr'), (node) => node.dataset.key)).size), 451, 'each once');
		is(await count(page, 'main .card p button:not([hidden])'), 0, '... and no more to come');

		/* a filter that finds nothing for long */
		acts(25000, { age: '1 hour', verb: 'enable', reason: 'noise' });
		acts(2, { age: '5 days', verb: 'stop', reason: 'before the noise' });
		await open(page, '#/audit?action=stop&text=the+noise');
		await has(page, '0 acts since', 'main');
		await press(page, 'Look further back', 'main');
		await has(page, '2 acts', 'main');
		await has(page, 'before the noise 2', 'main tbody');
		await page.setViewport({ width: 360, height: 800 });
		ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'nothing is wider than 360 pixels');
		await page.browserContext().close();

		/* whose it is */
		const boss = await window_('boss');
		await open(boss, '#/audit?text=acme+only');
		await has(boss, '1 act', 'main');
		const bob = await window_('bob');
		await open(bob, '#/audit?text=acme+only');
		await has(bob, 'Nothing of that is on record.', 'main');
		sql("DELETE FROM taskq_internal.audit WHERE object = 'worker'; SELECT taskq.kind_drop('board_audited')");
		await boss.browserContext().close();
		await bob.browserContext().close();
	},
};
