/* Pictures of all pages, for people. */
'use strict';

const fs = require('fs');
const path = require('path');
const { answers, asks, has, open, press, site, sql, until, window_ } = require('../lib.js');

/* Each page, and what is opened there before its picture is taken. */
async function scenes() {
	const one = (query) => sql('SELECT ' + query);
	const listed = (filter, order) => one("id FROM taskq.task_list('" + JSON.stringify(filter) + "', '" + (order || 'newest') + "', n => 1)");
	const kind = one("kind FROM taskq.task_list('{\"state\": \"failed\"}', n => 1000) GROUP BY kind ORDER BY count(*) DESC LIMIT 1");
	const failed = '#/task/' + listed({ state: 'failed', kind });
	const long = () => sql("SELECT id FROM taskq.task_list('{\"state\": \"running\"}', 'oldest', n => 10) WHERE current < total * 0.9 LIMIT 1");
	await until(long, 'a task runs that says how far it is');
	const running = '#/task/' + long();
	const retry = async (page) => { await press(page, 'Retry \u2026'); await has(page, 'Retry this task', 'dialog'); };
	const bulk = async (page) => { await press(page, 'Retry', '[role=group]'); await has(page, kind, 'dialog'); };
	const cancel = async (page) => { await press(page, 'Cancel \u2026'); await has(page, 'Cancel this task', 'dialog'); };
	return { overview: ['#/'], tasks: ['#/tasks'], failed: ['#/tasks?state=failed&time=1+hour&kind=' + kind], bulk: ['#/tasks?state=failed&time=1+hour&kind=' + kind, bulk], running: [running], cancel: [running, cancel],
		error: [failed], retry: [failed, retry], done: ['#/task/' + listed({ state: 'completed' })], why: ['#/task/' + listed({ state: 'pending' }, 'oldest')], workflow: ['#/workflow/' + one('workflow FROM taskq.task WHERE workflow IS NOT NULL LIMIT 1')],
		workflows: ['#/workflows'], schedules: ['#/schedules'], queues: ['#/queues'], kinds: ['#/kinds'], workers: ['#/workers'], audit: ['#/audit'], alerts: ['#/alerts'] };
}

const LISTS = ['queue', 'worker', 'alert', 'schedule', 'kind', 'template', 'audit', 'task_list', 'task_counts', 'statistics_history', 'statistics_by', 'queue_estimates'];

const NOTHING = { running: true, paused: false, workers: 0, max_workers: 6, tasks: {}, queues: [], warnings: [], failed: [], why_not_running: null };

async function picture(page, name, whole) {
	await new Promise((resolve) => setTimeout(resolve, 700));
	await page.screenshot({ path: path.join(site.shots, name + '.png'), fullPage: whole });
}

const shown = (page) => page.waitForFunction(() => document.querySelectorAll('main td, main dd').length > 1 || Array.from(document.querySelectorAll('main .example')).some((one) => one.checkVisibility())).catch(() => {});

module.exports = {
	async shots() {
		fs.mkdirSync(site.shots, { recursive: true });
		for (const width of site.widths || [360, 1280, 2560]) {
			for (const dark of [false, true]) {
				const end = '-' + width + (dark ? '-dark' : '');
				const page = await window_('operator', { width, dark });
				for (const [name, [route, then]] of Object.entries(await scenes())) {
					await open(page, route);
					await shown(page);
					if (then)
						await then(page);
					await picture(page, name + end, width < 2000 && !then && !['tasks', 'failed'].includes(name));
				}
				await page.setOfflineMode(true);
				await has(page, 'The connection is lost', '#notice');
				await picture(page, 'lost' + end, false);
				await page.browserContext().close();

				/* who has not logged in; a database where there is nothing yet */
				const other = await window_(null, { width, dark });
				await open(other);
				await has(other, 'With a token');
				await picture(other, 'login' + end, true);
				await other.browserContext().close();
				const empty = await window_('operator', { width, dark });
				await answers(empty);
				empty.answer = (request) => (asks('sitrep')(request) ? { body: NOTHING } : LISTS.includes(new URL(request.url()).pathname.split('/').pop()) ? { body: [] } : null);
				for (const name of ['overview', 'tasks', 'workflows', 'schedules', 'kinds']) {
					await open(empty, name === 'overview' ? '#/' : '#/' + name);
					await shown(empty);
					await picture(empty, 'empty-' + name + end, true);
				}
				await empty.browserContext().close();
			}
		}
	},
};
