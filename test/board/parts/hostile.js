/* Texts, names and addresses that somebody made to do harm; the page in foreign places. */
'use strict';

const fs = require('fs');
const { call, field, fill, has, is, ok, open, press, site, sql, stranger, text, until, window_ } = require('../lib.js');

module.exports = {
	async hostile() {
		const evil = '<img src=x onerror="window.hacked = 1">';
		const q = "'" + evil + "'";
		for (const name of [q, "'__proto__'", "'constructor'", "'javascript:window.hacked=1'"])
			sql('SELECT taskq.queue_define(' + name + ", description => " + q + "); SELECT taskq.queue_pause(" + name + ', ' + q + ')');
		sql("SELECT taskq.kind_define(" + q + ", queue => " + q + ", category => '__proto__', description => " + q + "); SELECT taskq.kind_pause(" + q + ', ' + q + ')');
		sql("SELECT taskq.schedule_define(" + q + ", kind => " + q + ", every => '1 day', description => " + q + ')');
		sql("SELECT taskq.alert_define(" + q + ", 'queue_length', 1000000000, description => " + q + ')');
		const id = sql("SELECT taskq.task_submit(" + q + ", '{\"__proto__\": {\"polluted\": 1}, \"big\": 12345678901234567890}', tags => ARRAY[" + q + "], metadata => '{\"constructor\": {\"prototype\": {\"polluted\": 1}}}')");
		await call('worker', 'task_claim', { kinds: ['board_outside'], worker: evil });
		sql('SELECT taskq.template_define(' + q + ", jsonb_build_array(jsonb_build_object('name', " + q.replace('.', ' ') + ", 'kind', 'board_quick', 'title', " + q + "), jsonb_build_object('name', '__proto__', 'kind', 'board_quick', 'depends_on', " + q.replace('.', ' ') + ')), description => ' + q + ')');
		const flow = sql('SELECT taskq.template_submit(' + q + ", '{}', title => " + q + ')');
		const page = await window_('operator');
		for (const route of ['', 'tasks', 'workflows', 'workflow/' + flow, 'task/' + id, 'schedules', 'queues', 'kinds', 'workers', 'alerts', 'audit']) {
			await open(page, '#/' + route);
			await has(page, route === 'workers' ? 'internal' : evil, 'main');
			is(await page.evaluate(() => [window.hacked === undefined, ({}).polluted === undefined, document.querySelectorAll('main img, main script').length]), [true, true, 0], 'names are texts: ' + (route || 'overview').split('/')[0]);
		}
		await open(page, '#/task/' + id);
		await has(page, '12345678901234567890', 'main');
		for (const [route, said] of [['%', 'No such page'], ['__proto__', 'No such page'], ['task/' + evil, 'invalid'], ['task/', 'invalid'], ['task/' + id + '/..%2f..', 'invalid'], ['workflow/%00', ''],
			['tasks?time=constructor&of=__proto__', 'tasks: all tasks'], ['tasks?from=' + evil, 'invalid'], ['tasks?order=' + evil, 'order_by'], ['tasks?state=' + evil, 'state'],
			['tasks?kind=' + encodeURIComponent(evil) + '&text=a?b', 'with \u201ca?b\u201d'], ['login', 'Overview']]) {
			await open(page, '#/' + route);
			await has(page, said, 'main');
		}
		is(await page.evaluate(() => [window.hacked === undefined, document.querySelectorAll('main img, main script').length]), [true, 0], '... and so is the address');
		/* who comes after it waits for what is not held back */
		sql("SELECT taskq.task_cancel('" + id + "')");
		await page.browserContext().close();
	},

	/* JSON that programs trip over, letters that turn lines around, more than anybody reads. */
	async odd() {
		const said = 'exe.\u202etxt \u001b[31m';
		const deep = '['.repeat(5000) + '1234567890123456789' + ']'.repeat(5000);
		sql("SELECT taskq.kind_define('board_odd'), taskq.kind_grant('board_odd', 'web_worker', privilege => 'work')");
		const id = sql("SELECT taskq.task_submit('board_odd', '{\"deep\": " + deep + "}', tags => ARRAY[repeat('x', 900000)], max_attempts => 1)");
		const [{ token }] = await call('worker', 'task_claim', { kinds: ['board_odd'], worker: 'w exe.\u202etxt' });
		await call('worker', 'task_heartbeat', { id, token, failure_details: [{ step: 'one', error: { toString: 1 } }] });
		sql("SET ROLE web_worker; SELECT taskq.task_fail('" + id + "', '" + token + "', '" + said + "', details => '{\"deep\": " + deep + "}', retry => false)");
		const page = await window_('operator');
		await open(page, '#/tasks');
		await has(page, 'exe.\\u202etxt \\u001b[31m', 'main');
		await open(page, '#/task/' + id);
		for (const words of ['{"toString":1}', 'failed on w exe.\\u202etxt', 'xxx\u2026', '"\u2026"'])
			await has(page, words, 'main');
		await until(async () => /Nothing is logged/.test(await text(page, 'main')), 'all of the page is there');
		ok(!/primitive value|call stack|cannot be/.test(await text(page)), 'nothing went wrong');
		sql("SELECT taskq.kind_drop('board_odd')");
		await page.browserContext().close();
	},

	async strangers() {
		const file = fs.readFileSync(site.file, 'utf8');
		const other = await stranger({ '/board.html': file, '/frames': '<iframe src="' + site.url + '/rpc/board"></iframe><iframe src="/board.html"></iframe>' });
		const page = await window_('operator', { says: /frame-ancestors|policy/ });
		await page.goto(site.url + '/rpc/board?api=' + encodeURIComponent(other.url), { waitUntil: 'load' });
		/* to PostgREST that is a function with an argument: there is none */
		await until(async () => /Tasks are run|PGRST202/.test(await text(page)), 'the address of another one is no use');
		is(other.asked, [], 'what the database serves asks no other address');
		await page.goto(other.url + '/board.html?api=' + encodeURIComponent(site.url), { waitUntil: 'load' });
		await has(page, 'With a token');
		await fill(page, 'Token (JWT)', site.tokens.operator);
		await (await field(page, 'Keep it until')).click();
		await press(page, 'Use this token');
		await has(page, 'Tasks are run', 'main');
		await page.goto(other.url + '/board.html?api=' + encodeURIComponent(other.url + '/fake'), { waitUntil: 'load' });
		await has(page, 'With a token');
		ok(!other.asked.some((one) => /Bearer/.test(one)), 'a token that is kept for one address goes to no other one', other.asked);
		await page.goto(other.url + '/frames', { waitUntil: 'load' });
		const copy = () => page.frames().find((one) => one.url() === other.url + '/board.html');
		await until(async () => /not shown inside/.test(await copy().evaluate(() => document.body.innerText)), 'a copy is not shown in a frame');
		await until(() => page.said.some((one) => /frame-ancestors/.test(one)), '... what the database serves neither: the browser says who forbids it');
		for (const frame of page.frames().filter((one) => one !== copy() && one !== page.mainFrame()))
			ok(!/With a token|Overview/.test(await frame.evaluate(() => document.body.innerText).catch(() => '')), '... and it is not there');
		other.close();
		await page.browserContext().close();
	},
};
