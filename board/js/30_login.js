/* Log in: a token, or what the example's log-in function gives for a password. */

page('login', 'Log in', (scope, { again, why } = {}) => {
	const keep = h('input', { type: 'checkbox' });
	const enter = (token) => {
		api.setToken(token, keep.checked);
		if (location.hash !== (again || '#/'))
			location.hash = again || '#/';
		else
			go();
	};
	const submit = (run) => async (event) => {
		event.preventDefault();
		const form = event.currentTarget;
		const button = form.querySelector('button');
		well(form);
		button.disabled = true;
		try {
			await run();
		} catch (error) {
			if (!scope.over())
				form.append(faultOf(error));
		}
		button.disabled = false;
	};
	const email = h('input', { type: 'email', autocomplete: 'username', required: true });
	const password = h('input', { type: 'password', autocomplete: 'current-password', required: true });
	const token = h('textarea', { rows: 4, class: 'mono', required: true, spellcheck: 'false', autocomplete: 'off' });
	const address = h('input', { type: 'url', value: api.base, required: true });

	show(scope.main, why && h('div', { class: 'note', role: 'alert' }, 'You have been logged out: ', why),
		h('div', { class: 'grid login' },
			h('form', { class: 'card', submit: submit(async () => {
				const answer = await api.call('rpc/login', { method: 'POST', schema: 'api', body: { email: email.value, password: password.value }, signal: scope.signal });
				enter(tokenOf(String(answer && answer.access_token)));
			}) }, h('h2', {}, 'With a password'),
				h('p', {}, h('label', { class: 'field' }, 'E-mail', email)), h('p', {}, h('label', { class: 'field' }, 'Password', password)),
				h('p', {}, h('button', { class: 'main' }, 'Log in'))),
			h('form', { class: 'card', submit: submit(async () => {
				const given = tokenOf(token.value);
				await api.call('rpc/task_counts', { query: { limit: 1 }, token: given, signal: scope.signal });
				enter(given);
			}) }, h('h2', {}, 'With a token'),
				h('p', {}, h('label', { class: 'field' }, 'Token (JWT)', token)),
				h('p', {}, h('button', { class: 'main' }, 'Use this token'))),
			h('section', { class: 'card wide' },
				h('p', {}, h('label', { class: 'check' }, keep, 'Keep it until this tab is closed')),
				h('p', { class: 'soft' }, 'Otherwise it is forgotten when the page is loaded again. You see and steer what your role and tenant may.'),
				addressOf(here) !== location.origin + location.pathname.replace(/(\/rpc)?\/board\/?$/, '') ? h('p', {}, h('label', { class: 'field' }, 'Address of the API', address)) : null)));
	address.addEventListener('change', () => { api.base = address.value.trim().replace(/\/+$/, ''); });
});
