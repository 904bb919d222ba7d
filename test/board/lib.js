/*
 * What the tests of the board share: TAP, a browser, windows of somebody, what is seen and pressed
 * there, answers that are held back or made up.
 *
 * A part waits for what it then counts: until() and has() for what comes, handled() for what must
 * not come (when the page is through with an answer, what it does not show by then it never shows).
 */
'use strict';

const fs = require('fs');
const puppeteer = require('puppeteer-core');
const { execFileSync } = require('child_process');

const site = JSON.parse(firstLine());
const noise = [];				/* what a browser's console said that it should not have */
const PATIENCE = site.patience || 60000;
let last = 0;
let browser;

/* Of standard input; what comes after it is answers to server(). */
function firstLine() {
	const byte = Buffer.alloc(1);
	const bytes = [];
	while (fs.readSync(0, byte, 0, 1, null) === 1 && byte[0] !== 10)
		bytes.push(byte[0]);
	return Buffer.from(bytes).toString('utf8');
}

/* ---- TAP */

function ok(good, name, why) {
	console.log((good ? 'ok ' : 'not ok ') + (++last) + ' - ' + name.replace(/[#\n]/g, ' '));
	if (!good && why !== undefined)
		console.log('# ' + (typeof why === 'string' ? why : JSON.stringify(why)).replace(/\n/g, '\n# '));
	return good;
}

function is(got, wanted, name) {
	return ok(JSON.stringify(got) === JSON.stringify(wanted), name, ('got ' + JSON.stringify(got)).slice(0, 800) + ', wanted ' + JSON.stringify(wanted));
}

/* Waits for a condition.  What cannot be asked yet, as of an element that is not there, is not so yet. */
async function reached(condition) {
	const deadline = Date.now() + PATIENCE;
	for (let why = null; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
		try {
			if (await condition())
				return null;
		} catch (error) {
			why = String(error);
		}
		if (Date.now() > deadline)
			return why || 'it did not come to that';
	}
}

async function until(condition, name) {
	const why = await reached(condition);
	return ok(!why, name, why || undefined);
}

/* ---- the server */

/* Superuser's SQL. */
function sql(query) {
	return execFileSync('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', site.db, '-c', query], { encoding: 'utf8', maxBuffer: 1e8 }).trim();
}

/* Has the caller stop or start one of nginx, gateway and postgresql. */
let answers_ = null;

async function server(act, name) {
	answers_ ??= require('readline').createInterface({ input: process.stdin })[Symbol.asyncIterator]();
	console.log('! ' + act + ' ' + name);
	const { value } = await answers_.next();
	if (value !== 'done')
		throw new Error(act + ' ' + name + ': ' + value);
}

/* A call of somebody's, without the board. */
async function call(who, name, body) {
	const answer = await fetch(site.url + '/rpc/' + name, { method: 'POST', body: JSON.stringify(body), headers: { Authorization: 'Bearer ' + site.tokens[who], 'Content-Type': 'application/json' } });
	const said = await answer.text();
	return said ? JSON.parse(said) : null;
}

/* A server of somebody else's: pages by path, and what it was asked. */
async function stranger(pages) {
	const server = require('http').createServer((request, answer) => {
		server.asked.push(request.method + ' ' + request.url + ' ' + (request.headers.authorization || ''));
		answer.writeHead(pages[request.url.split('?')[0]] ? 200 : 404, { 'Content-Type': 'text/html', 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': '*' });
		answer.end(pages[request.url.split('?')[0]] || '');
	});
	server.asked = [];
	await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
	server.url = 'http://127.0.0.1:' + server.address().port;
	return server;
}

/* ---- windows */

async function launch() {
	browser = await puppeteer.launch({ executablePath: site.chromium, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--lang=en-US'], protocolTimeout: 120000, env: { ...process.env, TZ: 'UTC', LANG: 'en_US.UTF-8' } });
	return browser;
}

/*
 * A window of somebody, logged in by token unless who is null.  options: width, height, dark;
 * beside, another window, whose tab this one is; says, what its console may say; pace, what its
 * waits are divided by (an hour is seconds; below 1 they last longer).
 */
async function window_(who, options = {}) {
	const context = options.beside ? options.beside.browserContext() : await browser.createBrowserContext();
	const page = await context.newPage();
	page.setDefaultTimeout(PATIENCE);
	page.requests = [];
	page.on('request', (request) => page.requests.push(request.url()));
	page.said = [];
	const said = (text) => (options.says && options.says.test(text) ? page.said : noise).push(text);
	page.on('console', (message) => {
		/* what a browser says of an answer that is no success is no fault of the page */
		if (['error', 'warning', 'warn'].includes(message.type()) && !/Failed to load resource/.test(message.text()))
			said(message.text());
	});
	await page.evaluateOnNewDocument(watch, options.pace || 1);
	page.on('pageerror', (error) => said(String(error)));
	page.on('dialog', (dialog) => { noise.push('dialog: ' + dialog.message()); dialog.dismiss(); });
	await page.setViewport({ width: options.width || 1280, height: options.height || 900 });
	await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: options.dark ? 'dark' : 'light' }]);
	if (who)
		await page.evaluateOnNewDocument((token, base) => { if (location.origin + '' === base) sessionStorage.setItem('taskq.token ' + base, token); }, site.tokens[who], site.url);
	return page;
}

/* In the page: tells of its policy, and which answers it is through with. */
function watch(pace) {
	document.addEventListener('securitypolicyviolation', (event) => console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI));
	const later = window.setTimeout;
	if (pace !== 1)
		window.setTimeout = (run, ms, ...more) => later(run, ms / pace, ...more);
	const ask = window.fetch;
	const read = Response.prototype.text;
	window.handled = [];
	const through = (url) => later(() => window.handled.push(url), 0);
	window.fetch = async (url, ...more) => {
		try {
			const answer = await ask(url, ...more);
			answer.asked = String(url);
			return answer;
		} catch (error) {
			through(String(url));
			throw error;
		}
	};
	Response.prototype.text = async function() {
		try {
			return await read.call(this);
		} finally {
			through(this.asked);
		}
	};
}

/* Until the page is through with so many answers of which the address has these words. */
async function handled(page, words, n = 1) {
	await page.waitForFunction((part, wanted) => window.handled.filter((url) => decodeURIComponent(url).includes(part)).length >= wanted, {}, words, n);
}

async function open(page, route = '#/') {
	await page.goto('about:blank');
	await page.goto(site.url + '/rpc/board' + route, { waitUntil: 'load' });
}

const go = (page, route) => page.evaluate((to) => { location.hash = to; }, route);
const where = (page) => page.evaluate(() => location.hash);

/* ---- what is seen, and done */

const text = (page, selector = 'body') => page.$eval(selector, (node) => node.innerText);
const count = (page, selector) => page.$$eval(selector, (nodes) => nodes.length);

async function has(page, words, selector) {
	const why = await reached(async () => (await text(page, selector)).includes(words));
	return ok(!why, 'shows: ' + words, why && why + '\n' + await text(page, selector).then((shown) => shown.slice(0, 600), String));
}

/*
 * Presses a button, link or tab by its name, as a screen reader says it, as soon as it is there and
 * nothing is over it: at once, so that what is made anew meanwhile is no other one.
 */
async function press(page, name, inside = 'body') {
	await page.waitForFunction((wanted, scope) => {
		/* all of its name, or what is seen of it */
		const seen = (node) => Array.from(node.childNodes).filter((one) => !one.classList || !one.classList.contains('away')).map((one) => one.textContent).join('');
		const names = (node) => [node.getAttribute('aria-label') || node.textContent, seen(node)].map((text) => text.replace(/\s+/g, ' ').trim());
		const found = Array.from(document.querySelectorAll(scope)).flatMap((part) => Array.from(part.querySelectorAll('button, a, summary')))
			.find((node) => names(node).includes(wanted) && !node.disabled && node.checkVisibility());
		if (!found)
			return false;
		found.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
		const box = found.getClientRects()[0];
		const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
		if (!there || !found.contains(there) && !there.contains(found))
			return false;
		found.focus();
		found.click();
		return true;
	}, {}, name, inside);
}

/* Ticks the first n boxes of a table, and returns the keys of their rows. */
async function tick(page, n) {
	const keys = await page.waitForFunction((wanted) => {
		const boxes = Array.from(document.querySelectorAll('tbody input[type=checkbox]')).slice(0, wanted);
		if (boxes.length < wanted)
			return false;
		boxes.forEach((box) => box.click());
		return boxes.map((box) => box.closest('tr').dataset.key);
	}, {}, n);
	return keys.jsonValue();
}

/* Close the dialog, and go on when it is gone. */
async function closed(page) {
	await press(page, 'Close', 'dialog');
	await page.waitForFunction(() => !document.querySelector('dialog'));
}

async function field(page, label) {
	const handle = await page.waitForFunction((wanted) => {
		const found = Array.from(document.querySelectorAll('label')).find((node) => node.firstChild && node.textContent.trim().startsWith(wanted));
		return found && found.querySelector('input, select, textarea');
	}, {}, label);
	return handle.asElement();
}

/* Types a text; what is long, as a token, is pasted. */
async function fill(page, label, value) {
	const input = await field(page, label);
	const pasted = value.length > 100;
	await input.evaluate((node, given) => { node.value = given; }, pasted ? value : '');
	if (!pasted)
		await input.type(value);
	await input.evaluate((node) => node.dispatchEvent(new Event('change', { bubbles: true })));
}

/* ---- answers */

/*
 * Answers for the server: page.answer(request) gives { status, body }, 'abort', a promise of one
 * of these, or nothing for the server's own.
 */
async function answers(page) {
	page.answer = () => null;
	await page.setRequestInterception(true);
	page.on('request', async (request) => {
		const given = await page.answer(request);
		if (given === 'abort')
			request.abort('connectionreset').catch(() => {});
		else if (given)
			request.respond({ status: given.status || 200, contentType: given.type || 'application/json', body: typeof given.body === 'string' ? given.body : JSON.stringify(given.body) }).catch(() => {});
		else
			request.continue().catch(() => {});
	});
}

/* Has the server do it, whatever becomes of the answer. */
async function reaches(request) {
	const answer = await fetch(request.url(), { method: request.method(), headers: request.headers(), body: request.postData() });
	await answer.text();
}

/* A promise that somebody else keeps. */
function gate() {
	let open;
	const gate = new Promise((resolve) => { open = resolve; });
	gate.open = open;
	return gate;
}

const asks = (name) => (request) => new URL(request.url()).pathname.endsWith('/' + name);

/* ---- the end */

function plan() {
	console.log('1..' + last);
	process.stdin.destroy();
}

module.exports = { site, noise, ok, is, until, reached, sql, server, call, stranger, launch, window_, handled, open, go, where, text, count, has, press, tick, closed, field, fill, answers, reaches, gate, asks, plan };
