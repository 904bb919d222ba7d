/*
 * So many overviews at once, without a browser: the requests of one, again and again, each with its
 * waiting call, address (of 127.0.0.0/8) and token; and how long a submit of somebody else's takes
 * beside them.  Called by bench/board.sh, BOARDS="10 50".
 */
'use strict';

const fs = require('fs');
const http = require('http');
const { execFileSync } = require('child_process');

const site = JSON.parse(fs.readFileSync(0, 'utf8'));
const tokens = execFileSync('psql', ['-XAtq', '-c', "SELECT auth.token('web_operator', 'who' || n, expires => '10 hours') FROM generate_series(0, " + Math.max(...site.boards) + ') n'], { encoding: 'utf8' }).trim().split('\n');
const agents = tokens.map((token, no) => new http.Agent({ keepAlive: true, localAddress: '127.0.' + (1 + no % 100) + '.' + (1 + no % 250) }));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/* Who: 0 is somebody else, the others have a board. */
function ask(who, method, path, body) {
	const start = performance.now();
	return new Promise((resolve) => {
		const request = http.request(site.url + path, { method, agent: agents[who], headers: { Authorization: 'Bearer ' + tokens[who], 'Accept-Profile': 'taskq', 'Content-Profile': 'taskq', 'Content-Type': 'application/json' } }, (answer) => {
			let text = '';
			answer.on('data', (part) => { text += part; });
			answer.on('end', () => resolve({ status: answer.statusCode, text, ms: performance.now() - start }));
		});
		request.on('error', () => resolve({ status: 0, text: '', ms: performance.now() - start }));
		request.end(body && JSON.stringify(body));
	});
}

const LOOK = ['sitrep', 'queue_estimates', 'statistics_by?timeframe=5%20minutes&group_by=queue'].map((name) => '/rpc/' + name).concat('/worker?order=task_started_at.asc.nullslast,name&limit=50', '/alert');

/* As a board does it: five calls, then 5 s, or five times as long as they took. */
async function board(who, seen, over) {
	await sleep(Math.random() * 5000);
	const wait = async () => {
		let cursor = null;
		while (!over()) {
			const answer = await ask(who, 'POST', '/rpc/events_since', cursor ? { cursor, wait: '20 s', n: 1 } : {});
			seen.waits.push(answer);
			if (answer.status !== 200)
				await sleep(over() ? 0 : 30000);
			else
				cursor = JSON.parse(answer.text).cursor;
		}
	};
	const waited = wait();
	while (!over()) {
		const start = performance.now();
		const answers = await Promise.all(LOOK.map((path) => ask(who, 'GET', path)));
		const took = performance.now() - start;
		seen.looks.push(took);
		seen.calls.push(...answers);
		await sleep(Math.max(5000, 5 * took));
	}
	await waited;
}

const at = (values, part) => Math.round(values.sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))] ?? NaN);

function refused(answers) {
	const counts = {};
	for (const { status } of answers)
		if (status !== 200)
			counts[status] = (counts[status] || 0) + 1;
	return Object.entries(counts).map(([status, n]) => n + ' of ' + answers.length + ' with ' + status).join(', ') || 'none of ' + answers.length;
}

(async () => {
	console.log('| boards | a look, ms: p50, p95 | calls refused | waits refused | submit of another, ms: p50, p95 | refused |\n|---|---|---|---|---|---|');
	for (const n of site.boards) {
		const end = Date.now() + site.seconds * 1000;
		const seen = { looks: [], calls: [], waits: [] };
		const other = [];
		const over = () => Date.now() > end;
		const all = Array.from({ length: n }, (_, no) => board(no + 1, seen, over));
		while (!over()) {
			other.push(await ask(0, 'POST', '/rpc/task_submit', { kind: 'served', run_at: 'infinity' }));
			await sleep(200);
		}
		await Promise.all(all);
		console.log('| ' + [n, at(seen.looks, 0.5) + ', ' + at(seen.looks, 0.95), refused(seen.calls), refused(seen.waits), at(other.map((one) => one.ms), 0.5) + ', ' + at(other.map((one) => one.ms), 0.95), refused(other)].join(' | ') + ' |');
	}
	process.exit(0);
})();
