/* Pages by the part of the address after #, and what lives as long as one of them is shown. */

const PAGES = [];
/* path, title, and the function or view that it shows */
const MENU = [['', 'Overview', 'sitrep'], ['tasks', 'Tasks', 'task_list'], ['workflows', 'Workflows', 'workflow_status'], ['schedules', 'Schedules', 'schedule'], ['queues', 'Queues', 'queue'], ['kinds', 'Kinds', 'kind'],
	['workers', 'Workers', 'worker'], ['audit', 'Audit', 'audit'], ['alerts', 'Alerts', 'alert']];

/* name: first part of the route; open(scope, argument, params) fills scope.main */
function page(name, title, open) {
	PAGES.push({ name, title, open });
}

/* How long to wait for a server that is away, ms. */
function backOff(faults) {
	return Math.min(1000 * 2 ** faults, 30000);
}

/* A wait that is left holds a connection of the server's to its end: not for who only passes by. */
const PASSING = 1500;

class Scope {
	constructor(main) {
		this.main = main;
		this.controller = new AbortController();
		this.signal = this.controller.signal;
		this.rings = new Set();
	}

	over() {
		return this.signal.aborted;
	}

	/* Dialogs go at once: their close events come later, when something else is shown. */
	leave() {
		this.controller.abort();
		document.querySelectorAll('dialog').forEach((dialog) => {
			dialog.close();
			dialog.remove();
		});
	}

	/* Resolves when start's done is called, at the latest when the page is left; nothing stays behind. */
	wait(start) {
		return new Promise((resolve) => {
			let stop;
			const done = () => {
				this.signal.removeEventListener('abort', done);
				if (stop)
					stop();
				resolve();
			};
			stop = start(done);
			this.signal.addEventListener('abort', done);
			if (this.over())
				done();
		});
	}

	/* Waits, and not longer than until the page is left. */
	sleep(ms) {
		return this.wait((done) => {
			const timer = setTimeout(done, ms);
			return () => clearTimeout(timer);
		});
	}

	/* The same after a fault: at the latest when the server is heard of again. */
	pause(ms) {
		return this.wait((done) => {
			const timer = setTimeout(done, ms);
			window.addEventListener(BACK, done);
			window.addEventListener('online', done);
			return () => {
				clearTimeout(timer);
				window.removeEventListener(BACK, done);
				window.removeEventListener('online', done);
			};
		});
	}

	/* Does it, and if there is no answer again, until there is one or the page is left. */
	async persist(run) {
		for (let faults = 0; ; faults++) {
			try {
				return await run();
			} catch (error) {
				if (this.over() || !unanswered(error))
					throw error;
				await this.pause(backOff(faults));
			}
		}
	}

	/* Until the reader looks at the page again: nobody is asked for what nobody sees. */
	async seen() {
		while (document.hidden && !this.over())
			await this.wait((done) => {
				document.addEventListener('visibilitychange', done);
				return () => document.removeEventListener('visibilitychange', done);
			});
	}

	/* ms, or less: until a task ends that the reader may see.  One long-poll for all of a page. */
	ring(ms, atLeast) {
		if (!this.following)
			this.following = this.follow();
		return this.wait((done) => {
			const timer = setTimeout(done, ms);
			const rung = () => {
				clearTimeout(early);
				early = setTimeout(done, Math.max(0, since + atLeast - Date.now()));
			};
			const since = Date.now();
			let early;
			this.rings.add(rung);
			return () => {
				clearTimeout(timer);
				clearTimeout(early);
				this.rings.delete(rung);
			};
		});
	}

	/*
	 * Who is refused, or whom nobody tells, looks now and then all the same.  That something has
	 * ended is all that is asked for: where more has than was told, it begins anew from now.
	 */
	async follow() {
		await this.sleep(PASSING);
		try {
			let cursor = null;
			let skipped = false;
			while (!this.over()) {
				await this.seen();
				const answer = await api.rpc('events_since', cursor === null ? {} : { cursor, wait: '20 s', n: 1 }, this.signal);
				const ended = answer.events.length > 0;
				const rings = ended || skipped;
				skipped = ended && answer.more;
				cursor = skipped ? null : answer.cursor;
				if (rings) {
					this.rings.forEach((rung) => rung());
					await this.sleep(1000);
				}
			}
		} catch (error) {
			await this.pause(30000);
		}
		this.following = null;
	}

	/* As repeat(), and a moment after a task has ended. */
	live(ms, look, shown) {
		return this.repeat(ms, look, shown, (wait, took) => this.ring(wait, Math.max(1000, 5 * took)));
	}

	/*
	 * Calls look() again and again, ms apart or longer, where the answers take long or say the
	 * same (what look() returns, if it does), and longer while the server is away; not at all
	 * while nobody looks.
	 */
	async repeat(ms, look, shown, pause) {
		let faults = 0;
		let away = false;
		let same = 0;
		let told;
		while (!this.over()) {
			const start = Date.now();
			try {
				const tells = await look();
				same = tells !== undefined && tells === told ? same + 1 : 0;
				told = tells;
				if (faults)
					well(shown || this.main);
				faults = 0;
			} catch (error) {
				if (this.over())
					return;
				away = unanswered(error);
				if (!(error instanceof LostError))
					failed(this, error, shown);
				/* what is refused may be allowed later */
				faults = error instanceof ApiError && error.status < 500 && error.status !== 429 ? 9 : faults + 1;
			}
			const took = Date.now() - start;
			if (faults)
				await this.pause(away ? backOff(faults - 1) : Math.min(Math.max(ms, 1000) * 2 ** faults, 30000));
			else
				await (pause || ((wait) => this.sleep(wait)))(Math.max(ms * Math.min(1 + same / 4, 3), 5 * took), took);
			await this.seen();
		}
	}

	/* An action of the user's: the button rests meanwhile, what goes wrong is shown. */
	action(run, after) {
		return async (event) => {
			const button = event.currentTarget;
			const place = button.closest('.card, dialog, section') || this.main;
			button.disabled = true;
			well(place);
			try {
				await run(event);
				if (after)
					await after();
			} catch (error) {
				if (!this.over())
					failed(this, error, place, true);
			}
			button.disabled = false;
		};
	}

	/* The same for what nobody waits for. */
	async tried(run, place) {
		try {
			await run();
			well(place || this.main);
		} catch (error) {
			if (!this.over())
				failed(this, error, place);
		}
	}
}

/* Takes away what was said of a fault. */
function well(place) {
	place.querySelectorAll(':scope > .note.bad[role=alert]').forEach((old) => old.remove());
}

function failed(scope, error, place, last) {
	/* who has gone on may have another token */
	if (scope.over())
		return;
	if (error.status === 401) {
		api.setToken(null);
		open_('login', { again: location.hash, why: error.message });
		return;
	}
	const where = place || scope.main;
	well(where);
	where[last ? 'append' : 'prepend'](faultOf(error));
}

let current;

/* What is no address is one of no page. */
function decoded(part) {
	try {
		return decodeURIComponent(part);
	} catch {
		return part;
	}
}

function route() {
	const [, path, query] = /^#?\/?([^?]*)\??(.*)$/s.exec(location.hash);
	const [name, ...rest] = path.split('/').map(decoded);
	return { name, argument: rest.join('/'), params: new URLSearchParams(query) };
}

/* Other parameters of the page that is shown, without opening it anew. */
function setParams(params) {
	const { name } = route();
	history.replaceState(null, '', '#/' + name + (params.size ? '?' + params : ''));
}

async function open_(name, argument, params) {
	const found = PAGES.find((one) => one.name === name) || PAGES.find((one) => one.name === 'nothing');
	if (current)
		current.leave();
	const main = document.getElementById('main');
	const scope = current = new Scope(h('div', {}));
	const heading = h('h1', { tabindex: -1 }, found.title);
	scope.title = (text) => {
		if (scope.over())
			return;
		heading.textContent = textOf(text);
		document.title = textOf(text) + ' \u00b7 taskq';
	};
	scope.title(found.title);
	show(main, heading, scope.main);
	menu(name);
	/* what was opened is read out; not at the very first time */
	if (open_.before)
		heading.focus();
	open_.before = true;
	window.scrollTo(0, 0);
	try {
		await found.open(scope, argument, params);
	} catch (error) {
		failed(scope, error);
		if (!unanswered(error))
			return;
		/* nothing is there yet that could be lost */
		await scope.pause(5000);
		if (!scope.over())
			open_(name, argument, params);
	}
}

/* A claim, if it is a text. */
function wordOf(claim, before = '', behind = '') {
	return typeof claim === 'string' && claim ? before + clip(claim, 200) + behind : null;
}

/* Who it was, by what is kept of a token. */
function personOf(claims) {
	const known = Object(claims);
	return wordOf(known.email) || wordOf(known.name) || wordOf(known.preferred_username) || wordOf(known.sub);
}

function menu(name) {
	const claims = api.claims();
	const at = { task: 'tasks', workflow: 'workflows' }[name] || name;
	show(document.getElementById('head'), h('a', { class: 'name', href: '#/' }, 'taskq'),
		api.token && h('nav', { 'aria-label': 'Pages' }, h('ul', {}, MENU.filter(([, , needs]) => may(needs)).map(([path, title]) =>
			h('li', {}, h('a', { href: '#/' + path, 'aria-current': path === at && 'page' }, title))))),
		api.token && h('div', { class: 'who' }, h('span', { class: 'whom' }, [personOf(claims), wordOf(claims.tenant, 'of ')].filter(Boolean).join(' '), claims.role && h('span', { class: 'rare' }, wordOf(claims.role, ' (', ')'))),
			h('button', { type: 'button', click: logOut }, 'Log out')));
}

function logOut() {
	api.setToken(null);
	history.pushState(null, '', '#/');
	go();
}

/* What the session may is known before its first page, or asked again meanwhile. */
let learning = null;

function go() {
	const { name, argument, params } = route();
	if (api.token && !RIGHTS.get(api.token))
		learning ||= learnRights().finally(() => { learning = null; });
	if (api.token && !RIGHTS.has(api.token))
		learning.then(go);
	else if (!api.token)
		open_('login', { again: location.hash });
	else
		open_(name === 'login' ? '' : name, argument, params);
}

page('nothing', 'No such page', (scope) => show(scope.main, h('p', {}, h('a', { href: '#/' }, 'To the overview'))));
