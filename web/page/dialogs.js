// Host login, waiting for the host or to be let in, room password.

const $ = id => document.getElementById(id);

/** Wires the dialogs to a meeting; returns what opens and closes them. */
export function dialogs(meeting, { leave }) {
    const [ login, waiting, password ] = [ $('login'), $('waiting'), $('password') ];
    const stop = new AbortController();
    const on = (el, type, f) => el.addEventListener(type, f, { signal: stop.signal });

    const open = dialog => dialog.open || dialog.showModal();
    const openLogin = () => {
        if (meeting.signInElsewhere()) {
            return;
        }
        $('login-error').textContent = '';
        $('login-password').value = '';
        open(login);
    };

    on(login.querySelector('form'), 'submit', async ev => {
        ev.preventDefault();
        const submit = $('login-submit');
        submit.disabled = true;
        $('login-error').textContent = '';
        try {
            await meeting.loginAsHost($('login-user').value.trim(), $('login-password').value);
            $('login-password').value = '';
            login.close();
        } catch (err) {
            $('login-error').textContent = err.message;
        } finally {
            submit.disabled = false;
        }
    });
    on($('login-cancel'), 'click', () => login.close());
    on($('waiting-login'), 'click', openLogin);
    on($('waiting-leave'), 'click', leave);
    on(waiting, 'cancel', ev => ev.preventDefault()); // Escape must not strand anybody
    on(password, 'cancel', ev => ev.preventDefault());
    on($('password-leave'), 'click', leave);
    on(password.querySelector('form'), 'submit', () => meeting.join($('room-password').value));

    return {
        openLogin,
        /** Until the host comes, or somebody lets us in from the lobby; the host needs nobody for that. */
        wait(lobby) {
            $('waiting-title').textContent = lobby ? 'Waiting to be let in' : 'Waiting for the host';
            $('waiting-text').textContent = lobby
                ? 'Somebody in the meeting has to let you in, or its host has to come. If that is you, log in.'
                : 'The meeting begins when its host comes in. If that is you, log in.';
            password.open && password.close();
            open(waiting);
        },
        askPassword(again) {
            $('password-error').textContent = again ? 'That was not it.' : '';
            $('room-password').value = '';
            open(password);
        },
        closeAll() {
            for (const d of [ login, waiting, password ]) {
                d.open && d.close();
            }
        },
        dispose() {
            this.closeAll();
            stop.abort();
        }
    };
}
