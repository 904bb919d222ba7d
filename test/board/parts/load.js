/* What it asks of the server. */
'use strict';

const { answers, asks, count, handled, has, is, ok, open, site, sql, text, until, window_ } = require('../lib.js');

const pathOf = (url) => new URL(url).pathname.replace(/^\/(rpc\/)?/, '');
/* not what is drawn from a data: address, nor what is asked once, whether one may */
const namesOf = (page) => page.requests.filter((url) => url.startsWith(site.url) && !url.endsWith('/rpc/rights')).map(pathOf);

module.exports = {
	/* More numbers than PostgREST gives rows (db-max-rows). */
	async numbers() {
		sql("SELECT taskq.queue_define('numbers_' || n) FROM generate_series(1, 1010) n");
		sql("SELECT count(taskq.task_submit('board_held', queue => 'numbers_' || n, run_at => 'infinity', tags => '{numbers}')) FROM generate_series(1, 1010) n");
		const scheduled = () => Number(sql("SELECT sum(n) FROM taskq.task_counts() WHERE state = 'scheduled'"));
		await until(() => Number(sql('SELECT count(*) FROM taskq.task_counts()')) > 1000 && scheduled() >= 1010, 'more than a thousand numbers');
		const page = await window_('operator');
		await open(page);
		await until(async () => Number((await text(page, '.counts [data-key=scheduled] b')).replace(/\D/g, '')) === scheduled(), 'all of them are added up');
		await page.browserContext().close();
		sql("SELECT count(taskq.task_cancel(id)) FROM taskq.task_list('{\"tag\": \"numbers\", \"state\": \"scheduled\"}', n => 2000)");
	},

	/* More boards than connections to wait with: this one has none. */
	async crowded() {
		const page = await window_('operator');
		await answers(page);
		page.answer = (request) => (asks('events_since')(request) ? { status: 504, body: { code: 'PGRST003', message: 'Timed out acquiring connection from connection pool.' } } : null);
		await open(page);
		await handled(page, 'events_since');
		is(await text(page, '#notice'), '', 'nothing is lost');
		sql("SELECT count(taskq.task_submit('board_quick')) FROM generate_series(1, 3)");
		await until(async () => Number((await text(page, '.counts [data-key=completed] b')).replace(/\D/g, '')) === Number(sql("SELECT sum(n) FROM taskq.task_counts() WHERE state = 'completed'")), 'it looks now and then');
		/* and a task's page, if too many wait already */
		const id = sql("SELECT taskq.task_submit('board_quick', run_at => 'infinity')");
		let refused = 0;
		page.answer = (request) => (asks('task_watch')(request) && ++refused ? { status: 429, body: { code: 'PT429', message: 'too many calls of yours wait' } } : null);
		await open(page, '#/task/' + id);
		await until(() => refused > 0, 'a wait is refused');
		ok(!(await text(page, 'main')).includes('completed'), '... while it is held');
		sql("SELECT taskq.task_run_now('" + id + "')");
		await has(page, 'completed', 'main');
		is(await count(page, 'main .note.bad'), 0, '... and nothing is said of it');
		await page.browserContext().close();
	},

	async requests() {
		const page = await window_('operator');
		const asked = (name) => namesOf(page).filter((one) => one === name).length;
		await open(page);
		await until(() => asked('events_since') >= 2, 'the overview waits for ends');
		sql("SELECT count(taskq.task_submit('board_quick')) FROM generate_series(1, 100)");
		await until(() => asked('sitrep') >= 3, '... and looks again');
		is([...new Set(namesOf(page))].filter((name) => !['board', 'statistics_history', 'events_since'].includes(name)).sort(),
			['alert', 'queue_estimates', 'sitrep', 'statistics_by', 'worker'], '... with five calls');
		await until(() => ['alert', 'queue_estimates', 'statistics_by', 'worker'].every((name) => asked(name) === asked('sitrep')), '... once each');
		page.requests.length = 0;
		await page.evaluate(() => { location.hash = '#/tasks?kind=board_quick'; });
		await until(() => asked('task_list') >= 3, 'so does a list');
		const names = namesOf(page);
		is([...new Set(names.slice(names.indexOf('task_list')))].filter((name) => !['kind', 'queue', 'events_since'].includes(name)), ['task_list'], '... with one call');
		await page.browserContext().close();
	},
};
