/* Calls of taskq through PostgREST, with the user's own token. */

class ApiError extends Error {
	constructor(status, body) {
		super(typeof body.message === 'string' && body.message || 'The server answered ' + status + '.');
		this.status = status;
		this.code = body.code;
		this.hint = body.hint;
		this.details = body.details;
	}
}

/* There was no answer, or not all of it. */
class LostError extends Error {
}

const TOKEN = /^[\w.~+/=-]+$/;
const AWAY = [502, 503, 504];
const PATIENCE = 120000;
const BACK = 'taskq-back';

const here = new URL(location.href);

/* What the database serves has its API beside it; only a copy of the page is told another address. */
function addressOf(url) {
	const own = /^(.*?)(\/rpc)?\/board\/?$/.exec(url.pathname);
	if (own && url.protocol !== 'file:')
		return url.origin + own[1];
	const beside = url.protocol === 'file:' ? '' : url.origin + url.pathname.replace(/\/[^/]*$/, '');
	return (url.searchParams.get('api') || beside).replace(/\/+$/, '');
}

/* Whole numbers that JavaScript cannot hold stay what they are, where the browser is new enough. */
function parse(text) {
	if (!JSON.rawJSON || !/\d{16}/.test(text))
		return JSON.parse(text);
	try {
		return JSON.parse(text, (key, value, context) => typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context.source) ? JSON.rawJSON(context.source) : value);
	} catch (error) {
		if (!(error instanceof RangeError))
			throw error;
		return JSON.parse(text);
	}
}

const DEEPEST = 100;

/* What is nested deeper than anybody reads ends there: a browser has no room to go through it. */
function shallow(top) {
	let level = Object(top) === top ? [top] : [];
	for (let depth = 1; level.length; depth++) {
		const below = [];
		for (const one of level)
			for (const [name, value] of Object.entries(one)) {
				if (Object(value) !== value || JSON.isRawJSON && JSON.isRawJSON(value))
					continue;
				if (depth < DEEPEST)
					below.push(value);
				else
					one[name] = '\u2026';
			}
		level = below;
	}
	return top;
}

/* The body of an answer; undefined when it is none of ours: a proxy's page, or half of it. */
async function bodyOf(answer) {
	const text = await answer.text();
	if (!text)
		return null;
	try {
		return shallow(parse(text));
	} catch {
		return undefined;
	}
}

const api = {
	base: addressOf(here),
	token: null,
	lost: false,
	clocked: false,
	skew: 0,					/* of the server's clock to ours, ms */

	/* options: method, query, body, signal, schema, headers, token, all (of the answer) */
	async call(path, options = {}) {
		const query = new URLSearchParams();
		for (const [name, value] of Object.entries(options.query || {}))
			if (value !== null && value !== undefined)
				query.set(name, typeof value === 'object' ? JSON.stringify(value) : value);
		const headers = { Accept: 'application/json', 'Accept-Profile': options.schema || 'taskq', 'Content-Profile': options.schema || 'taskq', ...options.headers };
		const token = options.token || api.token;
		if (token)
			headers.Authorization = 'Bearer ' + token;
		/* of texts that the server makes */
		if (ZONE)
			headers.Prefer = (headers.Prefer ? headers.Prefer + ', ' : '') + 'timezone=' + ZONE;
		if (options.body !== undefined)
			headers['Content-Type'] = 'application/json';
		const late = AbortSignal.timeout(PATIENCE);
		let answer;
		let body;
		try {
			answer = await fetch(api.base + '/' + path + (query.size ? '?' + query : ''), { method: options.method || 'GET', headers, signal: options.signal ? AbortSignal.any([options.signal, late]) : late,
				body: options.body === undefined ? undefined : JSON.stringify(options.body), credentials: 'omit', cache: 'no-store', redirect: 'error' });
			body = await bodyOf(answer);
		} catch (error) {
			if (options.signal && options.signal.aborted)
				throw error;
			connection(false);
			throw new LostError(late.aborted ? 'The server did not answer.' : 'The server cannot be reached.');
		}
		/* PGRST003: all connections are in use, as by others that wait; it is there */
		const away = AWAY.includes(answer.status) && !(body && body.code === 'PGRST003') || answer.ok && body === undefined;
		connection(!away);
		if (answer.ok && body === undefined)
			throw new LostError('What the server answered cannot be read.');
		if (!answer.ok)
			throw new ApiError(answer.status, body && typeof body === 'object' ? body : {});
		clock(answer.headers.get('Date'));
		return options.all ? { body, headers: answer.headers } : body;
	},

	/* reads */
	get(path, query, signal) {
		return api.call(path, { query, signal });
	},

	/* calls a function that changes something, or waits; who calls it again with the same key, having got no answer, has it done once */
	rpc(name, body = {}, signal, key) {
		return api.call('rpc/' + name, { method: 'POST', body, signal, headers: key && { 'Idempotency-Key': key } });
	},

	claims() {
		try {
			const text = api.token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
			return Object(JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)))));
		} catch {
			return {};
		}
	},

	/* What is kept is kept for one address: it goes to no other one. */
	setToken(token, keep) {
		api.token = token;
		RIGHTS.clear();
		kept((store) => {
			store.removeItem('taskq.token ' + api.base);
			if (token && keep)
				store.setItem('taskq.token ' + api.base, token);
		});
	},
};

/* A browser may refuse to keep anything. */
function kept(run) {
	try {
		return run(sessionStorage);
	} catch {
		return null;
	}
}

/* As people paste them: with a word before, wrapped by a terminal. */
function tokenOf(text) {
	const token = text.trim().replace(/^Bearer\s+/i, '').replace(/\s+/g, '');
	if (!TOKEN.test(token))
		throw new Error('That is not a token: it has letters that no token has.');
	return token;
}

api.token = kept((store) => store.getItem('taskq.token ' + api.base));
if (api.token && !TOKEN.test(api.token))
	api.token = null;

/* Dates of answers are whole seconds; a difference as small as that is none. */
function clock(date) {
	const skew = date ? new Date(date) - Date.now() : 0;
	api.clocked = true;
	api.skew = Math.abs(skew) > 5000 ? skew : 0;
}

/* Now, by the server's clock. */
function now() {
	return Date.now() + api.skew;
}

/* Says when the connection is lost, and when it is there again: to the reader, and to who waits for it. */
function connection(there) {
	const notice = document.getElementById('notice');
	const back = there && api.lost;
	if (back)
		show(notice);
	else if (!there && !api.lost)
		show(notice, 'The connection is lost. What is shown is from before; it is tried again.');
	api.lost = !there;
	if (back)
		window.dispatchEvent(new Event(BACK));
}

/* Nobody knows whether it was done. */
function unanswered(error) {
	return error instanceof LostError || AWAY.includes(error.status);
}

/* Where the page came over http: there is no randomUUID(). */
function newKey() {
	return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16).padStart(8, '0')).join('');
}

/*
 * Calls of a dialog that submit: what is asked again, word by word, as there was no answer, is
 * the same request.
 */
function submitter(signal) {
	let asked = null;
	let key = null;
	return async (name, body) => {
		const words = JSON.stringify([name, body]);
		if (words !== asked)
			key = newKey();
		asked = null;
		try {
			return await api.rpc(name, body, signal, key);
		} catch (error) {
			if (unanswered(error))
				asked = words;
			throw error;
		}
	};
}

/* What went wrong, for a person. */
function faultOf(error) {
	return h('div', { class: 'note bad', role: 'alert' }, h('strong', {}, error.message || String(error)),
		error.details && typeof error.details === 'string' && h('div', {}, error.details), error.hint && h('div', {}, error.hint), error.status === 403 && h('div', {}, 'It is not for your role, ' + (wordOf(api.claims().role) || 'that of this token') + ': who gave you the token knows which is.'));
}
