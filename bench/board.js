/*
 * Opens each page of the board in Chromium and says what that costs.  Called by bench/board.sh
 * with a description of the site as JSON on standard input.
 */
'use strict';

const fs = require('fs');
const { execFileSync } = require('child_process');
const puppeteer = require('puppeteer-core');

const site = JSON.parse(fs.readFileSync(0, 'utf8'));

function sql(query) {
	return execFileSync('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', query], { encoding: 'utf8' }).trim();
}

const proc = (pid, name) => fs.readFileSync('/proc/' + pid + '/' + name, 'utf8');
const children = (pid) => proc(pid, 'task/' + pid + '/children').trim().split(' ').filter(Boolean);

/* Milliseconds of processor time of a process, all of its threads; 0 of one that has gone. */
function used(pid) {
	try {
		return fs.readdirSync('/proc/' + pid + '/task').reduce((sum, thread) => sum + Number(proc(pid, 'task/' + thread + '/schedstat').split(' ')[0]), 0) / 1e6;
	} catch {
		return 0;
	}
}

const sum = (pids) => pids.reduce((all, pid) => all + used(pid), 0);
const gateway = () => sum(['postgrest', 'postgrest-wait', 'nginx'].flatMap((name) => {
	const pid = fs.readFileSync(site.scratch + '/' + name + '.pid', 'utf8').trim();
	return [pid, ...children(pid)];
}));

/* Of the sessions of PostgREST, those that are over with them: it closes what is idle. */
function sessions() {
	const postmaster = fs.readFileSync(site.scratch + '/data/postmaster.pid', 'utf8').split('\n')[0];
	const there = children(postmaster).filter((pid) => { try { return proc(pid, 'cmdline').startsWith('postgres: authenticator'); } catch { return false; } });
	const [user, system] = proc(postmaster, 'stat').replace(/.*\) /, '').split(' ').slice(13, 15).map(Number);
	return sum(there) + 10 * (user + system);
}

/* What nginx has answered: lines of its log. */
let read = 0;
function answered() {
	const all = fs.readFileSync(site.scratch + '/nginx/access.log', 'utf8');
	const lines = all.slice(read).split('\n').filter(Boolean).map((line) => /"(\S+) (\S+) [^"]*" (\d+) (\d+) ([\d.]+)$/.exec(line)).filter(Boolean)
		.map(([, method, path, status, bytes, time]) => ({ method, path, status: Number(status), bytes: Number(bytes), time: Number(time) }));
	read = all.length;
	return lines;
}

const WHOSE = "FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND userid IN (SELECT oid FROM pg_roles WHERE rolname ~ '^(web_|authenticator)')";

function statements() {
	const [calls, ms, blocks] = sql('SELECT coalesce(sum(calls), 0), coalesce(sum(total_exec_time + total_plan_time) FILTER (WHERE query !~ \'events_since|task_watch\'), 0), coalesce(sum(shared_blks_hit + shared_blks_read), 0) ' + WHOSE).split('|').map(Number);
	return { calls, ms, blocks };
}

function dearest(n) {
	return sql("SELECT round((total_exec_time + total_plan_time)::numeric / calls, 2) || ' ms, planned ' || round(total_plan_time::numeric / calls, 2) || ', ' || calls || ' calls, ' || (shared_blks_hit + shared_blks_read) / calls || ' blocks: '"
		+ " || left(regexp_replace(query, '\\s+', ' ', 'g'), " + (Number(process.env.LETTERS) || 100) + ') ' + WHOSE + ' AND calls > 0 ORDER BY total_exec_time + total_plan_time DESC LIMIT ' + n);
}

const rows = 'main tbody tr, main [hidden] ~ p:not([hidden])';
const finished = () => sql("SELECT coalesce((SELECT id FROM taskq.task_list('{\"state\": \"finished\"}', n => 1))::text, '')");
const running = () => sql("SELECT taskq.task_submit('long')");
const PAGES = [['Overview', () => '#/', '.counts li:nth-child(2) b:not(:empty)'], ['Tasks', () => '#/tasks', 'table.tasks tbody tr'], ['Tasks,completed', () => '#/tasks?state=completed', 'table.tasks tbody tr'],
	['Tasks,failed', () => '#/tasks?state=failed', 'table.tasks tbody tr, .stack p:not([hidden])'], ['Task,over', () => '#/task/' + finished(), '.taskhead strong'], ['Task,runs', () => '#/task/' + running(), '.taskhead strong'],
	...['Workflows', 'Schedules', 'Queues', 'Kinds', 'Workers', 'Alerts', 'Audit'].map((name) => [name, () => '#/' + name.toLowerCase(), rows])];

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function look(browser, name, route, there) {
	const context = await browser.createBrowserContext();
	const page = await context.newPage();
	await page.setViewport({ width: 1280, height: 900 });
	await page.evaluateOnNewDocument((token, base) => { if (location.origin === base) sessionStorage.setItem('taskq.token ' + base, token); }, site.token, site.url);
	answered();
	await page.goto(site.url + '/board' + route(), { waitUntil: 'load' });
	const first = await page.waitForFunction((selector) => document.querySelector(selector) && performance.now(), { polling: 'raf', timeout: 60000 }, there).then((handle) => handle.jsonValue()).catch(() => NaN);
	const counted = name.startsWith('Tasks') ? await page.waitForFunction(() => /\d task/.test((document.querySelector('.between [role=status]') || {}).textContent || '') && performance.now(), { polling: 'raf', timeout: 60000 }).then((handle) => handle.jsonValue()).catch(() => NaN) : null;
	await sleep(3000);
	const loaded = answered();
	sql('SELECT pg_stat_statements_reset()');
	const before = [sessions(), gateway()];
	const start = Date.now();
	await sleep(site.seconds * 1000);
	const seconds = (Date.now() - start) / 1000;
	const [server, proxy] = [sessions() - before[0], gateway() - before[1]];
	const db = statements();
	const lines = answered();
	const per = (value, digits = 1) => (value / seconds).toFixed(digits);
	const bytes = lines.reduce((sum, line) => sum + line.bytes, 0);
	console.log('| ' + [name, Math.round(first) + (counted === null ? '' : '; ' + Math.round(counted)), loaded.length + ', ' + Math.round(loaded.reduce((sum, line) => sum + line.bytes, 0) / 1000), per(lines.length, 2), per(db.calls), per(db.ms), per(db.blocks, 0),
		per(server / 10, 2), per(proxy / 10, 2), per(bytes / 1000)].join(' | ') + ' |');
	const bad = lines.filter((line) => line.status >= 400);
	if (bad.length)
		console.log('  refused: ' + [...new Set(bad.map((line) => line.status + ' ' + line.path))].join(', '));
	if (site.statements) {
		const paths = {};
		for (const line of lines)
			paths[line.path] = (paths[line.path] || 0) + 1;
		console.log('  ' + Object.entries(paths).map(([path, n]) => n + ' ' + path).join(', ') + '\n  ' + dearest(site.statements).replace(/\n/g, '\n  '));
	}
	await context.close();
	if (name === 'Task,runs')
		sql("SELECT count(taskq.task_cancel(id)) FROM taskq.task_list('{\"kind\": \"long\", \"state\": \"running\"}')");
}

(async () => {
	const browser = await puppeteer.launch({ executablePath: site.chromium, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
	console.log('| page | first shown (counted), ms | requests until then, kB | requests/s | statements/s | DB time, ms/s | blocks/s | CPU of sessions, % | CPU of PostgREST and nginx, % | kB/s |\n|---|---|---|---|---|---|---|---|---|---|');
	for (const [name, route, there] of PAGES)
		if (!site.pages.length || site.pages.includes(name))
			await look(browser, name, route, there);
	await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
