/* A task, and a workflow. */
'use strict';

const { call, count, fill, has, is, ok, open, press, site, sql, text, until, where, window_ } = require('../lib.js');

module.exports = {
	async task() {
		const page = await window_('operator');
		const running = sql("SELECT id FROM taskq.task_list('{\"kind\": \"board_long\", \"state\": \"running\"}', n => 1)");
		await open(page, '#/task/' + running);
		await has(page, 'Running on', 'main');
		const at = () => page.$eval('progress.long', (node) => node.value);
		await page.waitForSelector('progress.long');
		const first = await at();
		await until(async () => (await at()) > first, 'progress moves by itself');
		await has(page, 'did step', '.log');
		const lines = await count(page, '.log li');
		await until(async () => (await count(page, '.log li')) > lines, 'the log follows');
		await press(page, 'Cancel \u2026');
		await fill(page, 'Reason', 'seen enough');
		await press(page, 'Cancel it', 'dialog');
		await has(page, 'seen enough', 'main');
		await until(async () => sql("SELECT state FROM taskq.task_status('" + running + "')") === 'cancelled', 'a running one is cancelled');
		await has(page, 'Retry \u2026', 'main');

		const outside = sql("SELECT id FROM taskq.task_list('{\"kind\": \"board_outside\"}', 'oldest', n => 1)");
		await open(page, '#/task/' + outside);
		await has(page, 'Why is it not running?');
		await has(page, 'no external worker asks for its tasks');
		ok(await page.$$eval('table tr', (rows) => rows.some((row) => /^Waits\s/.test(row.innerText))), 'how long it waits');
		await press(page, 'Priority \u2026');
		await fill(page, 'Priority', '9');
		await press(page, 'Set priority', 'dialog');
		await until(async () => sql("SELECT priority FROM taskq.task_status('" + outside + "')") === '9', 'another priority');

		const failed = sql("SELECT id FROM taskq.task_list('{\"kind\": \"board_hostile\", \"state\": \"failed\"}', n => 1)");
		await open(page, '#/task/' + failed);
		await has(page, '<img src=x onerror=', 'main');
		await has(page, '<script>', 'main');
		await has(page, 'Attempt 2', 'main');
		is(await page.$$eval('table', (tables) => tables.find((one) => one.caption.textContent === 'Attempts').tBodies[0].rows.length), 2, 'its attempts in a table');
		ok(await count(page, 'svg.times rect.failed') === 2 && await page.$eval('svg.times', (node) => /^2 attempts in /.test(node.getAttribute('aria-label'))), '... and drawn');
		await has(page, 'the detail of it', 'main');
		ok(/Context\s+PL.pgSQL function/.test(await text(page, 'main')), 'what is where it was is named');
		is(await page.evaluate(() => [document.querySelectorAll('main img, main script, main iframe').length, window.hacked === undefined]), [0, true], 'hostile texts are texts');
		await press(page, 'Retry \u2026');
		await fill(page, 'Payload', '{"well": true}');
		await press(page, 'Retry it', 'dialog');
		await until(async () => /#\/task\//.test(await where(page)) && !(await where(page)).includes(failed), 'a retry opens the new one');
		await has(page, 'retry of', 'main');
		await has(page, 'completed successfully', 'main');
		await open(page, '#/task/' + failed);
		await has(page, 'Retries', 'main');

		await open(page, '#/task/00000000-0000-7000-8000-000000000000');
		await has(page, 'does not exist', 'main');
		await page.browserContext().close();
	},

	async person() {
		/* who it was, not the role alone; a name is a text */
		sql("ALTER SYSTEM SET taskq.stored_claims = 'role, sub, email'");
		sql('SELECT pg_reload_conf()');
		site.tokens.carla = sql("SELECT t.head || '.' || translate(encode(auth.hmac(convert_to(t.head, 'UTF8'), convert_to(s.jwt_secret, 'UTF8'), 'sha256'), 'base64'), E'+/=\\n', '-_') FROM auth.setting s, "
			+ "(SELECT string_agg(translate(encode(convert_to(part, 'UTF8'), 'base64'), E'+/=\\n', '-_'), '.' ORDER BY no) AS head FROM (VALUES (1, '{\"alg\":\"HS256\",\"typ\":\"JWT\"}'), "
			+ "(2, '{\"role\":\"web_user\",\"sub\":\"42\",\"email\":\"<b>carla</b>@acme.example\",\"tenant\":\"acme\"}')) p (no, part)) t");
		let id;
		await until(async () => {
			id = await call('carla', 'task_submit', { kind: 'board_tenant', delay: '1 hour' });
			return sql("SELECT claims->>'email' FROM taskq.task_status('" + id + "')") !== '';
		}, 'an address is kept');
		const page = await window_('operator');
		await open(page, '#/task/' + id);
		await has(page, 'by <b>carla</b>@acme.example (web_user)', 'main');
		ok(await page.$$eval('main dt', (all) => all.find((one) => one.textContent === 'Submitted by').nextElementSibling.textContent) === '<b>carla</b>@acme.example (web_user)', '... also in the details');
		is(await count(page, 'main td b, main dd b'), 0, '... and is no markup');
		await call('carla', 'task_cancel', { id, reason: 'not needed' });
		await open(page, '#/audit?who=' + encodeURIComponent('<b>carla</b>@acme.example'));
		await has(page, '<b>carla</b>@acme.example', 'main tbody');
		await has(page, 'not needed', 'main tbody');
		await has(page, 'web_user of acme', 'main tbody');
		const mine = await window_('carla');
		await open(mine);
		await has(mine, '<b>carla</b>@acme.example of acme', '#head');
		/* of who submitted in SQL there is no more than the role */
		const plain = sql("SELECT id FROM taskq.task_list('{\"kind\": \"board_outside\"}', 'oldest', n => 1)");
		await open(page, '#/task/' + plain);
		await has(page, 'by postgres', 'main');
		sql('ALTER SYSTEM RESET taskq.stored_claims');
		sql('SELECT pg_reload_conf()');
		for (const one of [page, mine])
			await one.browserContext().close();
	},

	async children() {
		/* 131 of a task that waits for nobody */
		sql("SELECT taskq.kind_define('board_parent')");
		const id = sql("SELECT taskq.task_submit('board_parent', run_at => 'infinity')");
		sql("SELECT count(*) FROM taskq.task_submit_many('board_held', array_fill('{}'::jsonb, ARRAY[131]), run_at => 'infinity', parent => '" + id + "')");
		const page = await window_('operator');
		await open(page, '#/task/' + id);
		const rows = () => page.$$eval('main table', (tables) => tables.find((one) => one.caption.textContent === 'Children').tBodies[0].rows.length);
		await has(page, 'The first 50 of 131 tasks.', 'main');
		is(await rows(), 50, 'the first children');
		await press(page, 'More children');
		await has(page, 'The first 100 of 131 tasks.', 'main');
		is([await rows(), await page.evaluate(() => document.activeElement.textContent)], [100, 'More children'], 'more of them, and the button keeps the focus');
		await press(page, 'More children');
		await until(async () => (await rows()) === 131, 'all of them');
		ok(!/More children|The first/.test(await text(page, 'main')), '... and no more');
		await press(page, 'All of them as a list');
		await has(page, '131 tasks: all tasks, parent ' + id, 'main');
		await page.browserContext().close();
		sql("SELECT count(*) FROM taskq.task_bulk('cancel', filter => '{\"parent\": \"" + id + "\"}', n => 200); SELECT taskq.task_cancel('" + id + "')");
	},

	async workflow() {
		const page = await window_('operator');
		const id = sql("SELECT workflow FROM taskq.task WHERE kind = 'board_step' LIMIT 1");
		await open(page, '#/workflow/' + id);
		await until(async () => (await count(page, 'svg.graph a')) === 4, 'a graph of four steps');
		is(await count(page, 'svg.graph .arrow'), 4, '... and what waits for what');
		await has(page, 'Retry what failed', 'main');
		sql("UPDATE board.model SET there = true");
		await press(page, 'Retry what failed');
		await until(async () => /\u2713 completed/.test(await text(page, 'main .card')) || /completed/.test(await text(page, 'main .card')), 'what failed is done again');
		await open(page, '#/workflows');
		await has(page, 'board_analysis', 'main tbody');
		await until(async () => (await count(page, 'main a[href="#/workflow/' + id + '"]')) === 1, 'workflows of late');
		await press(page, 'Submit \u2026', 'tr[data-key=board_analysis]');
		await fill(page, 'Title', 'by hand');
		await press(page, 'Submit it', 'dialog');
		await has(page, 'Workflow by hand', 'h1');
		await has(page, '100 % of 4 steps', 'main');
		await page.$eval('svg.graph a', (node) => node.focus());
		await page.keyboard.press('Enter');
		await until(async () => /^#\/task\//.test(await where(page)), 'a step is a link to its task');
		await page.browserContext().close();
	},
};
