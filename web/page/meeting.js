// One meeting through lib-jitsi-meet: the connection, the conference and their
// failures, told as events of one object. Works with the library of December
// 2021 and with today's.

import { roomNode } from './room.js';

const WAIT_FOR_HOST = 5000; // the stock client asks again every five seconds

export class Meeting extends EventTarget {
    /** @param {{lib, config, room: string, name: string, token?: string}} options */
    constructor({ lib, config, room, name, token }) {
        super();
        Object.assign(this, { lib, config, room, name, token });
        this.conference = null;
        this.joined = false;
        this.over = false;
        this.roomPassword = undefined;
    }

    /** Connects and joins with the given local tracks. */
    start(tracks) {
        this.tracks = tracks;
        const { config, lib } = this;
        const withRoom = address => {
            const url = new URL(address, location.href);
            url.searchParams.set('room', this.room);
            return url.href;
        };
        const options = { ...config };
        if (config.bosh) {
            options.bosh = withRoom(config.bosh);
        }
        options.serviceUrl = config.websocket && !config.preferBosh ? withRoom(config.websocket) : options.bosh;
        if (config.conferenceRequestUrl) {
            options.conferenceRequestUrl = withRoom(config.conferenceRequestUrl);
        }
        this.connection = new lib.JitsiConnection(null, this.token, options);
        const { CONNECTION_DISCONNECTED, CONNECTION_ESTABLISHED, CONNECTION_FAILED } = lib.events.connection;
        const on = (event, f) => this.connection.addEventListener(event, f);
        on(CONNECTION_ESTABLISHED, () => this.#connected());
        on(CONNECTION_FAILED, (error, message) => this.#connectionFailed(error, message));
        on(CONNECTION_DISCONNECTED, message => this.#lost(message || 'The connection was closed.'));
        this.#status('Connecting…');
        this.connection.connect({ name: roomNode(this.room) });
    }

    /** Ends it from our side; no further events. */
    async leave() {
        this.over = true;
        clearTimeout(this.retry);
        try {
            await this.conference?.leave();
        } catch (err) {
            console.warn('leave', err);
        }
        try {
            await this.connection?.disconnect();
        } catch (err) {
            console.warn('disconnect', err);
        }
    }

    async addTrack(track) {
        if (this.conference) {
            await this.conference.addTrack(track);
        }
    }

    join(password) {
        this.roomPassword = password ?? this.roomPassword;
        this.conference?.join(this.roomPassword);
    }

    sendChat(text) {
        this.conference.sendTextMessage(text);
    }

    myId() {
        return this.conference?.myUserId();
    }

    isModerator() {
        return Boolean(this.conference?.isModerator());
    }

    nameOf(id) {
        if (id === this.myId()) {
            return this.name || 'Me';
        }
        return this.conference?.getParticipantById(id)?.getDisplayName() || 'Guest';
    }

    /**
     * Goes to the page at which people sign in for a token, if there is one
     * (config.js tokenAuthUrl, client-signaling.md §7.4). It sends them back with it.
     */
    signInElsewhere() {
        const page = this.config.tokenAuthUrl;
        if (!page) {
            return false;
        }
        const state = { room: this.room, roomSafe: roomNode(this.room), tenant: location.pathname.split('/').at(-2) || undefined };
        this.#status('Going to the sign-in page…');
        this.leave();
        location.assign(page
            .replace('{state}', () => encodeURIComponent(JSON.stringify(state)))
            .replace('{room}', () => encodeURIComponent(this.room)));
        return true;
    }

    /**
     * Logs a host in over a second connection, as the stock client does
     * (client-signaling.md §7.2). Rejects with a text for people.
     */
    async loginAsHost(user, password) {
        clearTimeout(this.retry);
        const { hosts } = this.config;
        const id = user.includes('@') ? user : `${user}@${hosts.authdomain || hosts.domain}`;
        try {
            await this.conference.authenticateAndUpgradeRole({
                id,
                password,
                onLoginSuccessful: () => this.#status('Logged in, opening the meeting…')
            });
        } catch (err) {
            console.warn('host login', err);
            if (!this.joined) {
                this.#askAgain(WAIT_FOR_HOST);
            }
            const { PASSWORD_REQUIRED } = this.lib.errors.connection;
            if (err?.connectionError === PASSWORD_REQUIRED) {
                throw new Error('User name or password is wrong.');
            }
            throw new Error(err?.authenticationError || err?.message || err?.connectionError || 'The login did not work.');
        }
        // The library of 2021 joins by itself after a login, today's leaves it to us.
        if (!this.joined) {
            this.#askAgain(1500);
        }
    }

    /** Asks the bridge for videos no larger than what the page shows. */
    limitVideo(maxHeight) {
        if (this.maxHeight === maxHeight || !this.conference) {
            return;
        }
        this.maxHeight = maxHeight;
        this.conference.setReceiverConstraints({
            lastN: this.config.channelLastN ?? -1,
            defaultConstraints: { maxHeight },
            constraints: {} // the library of 2021 reads it unasked
        });
    }

    async #connected() {
        if (this.conference || this.over) {
            return; // a resumed connection
        }
        const { events } = this.lib;
        const conference = this.connection.initJitsiConference(roomNode(this.room), this.config);
        this.conference = conference;
        const e = events.conference;
        const on = (event, f) => event && conference.on(event, f);
        on(e.CONFERENCE_JOINED, () => {
            this.joined = true;
            clearTimeout(this.retry);
            this.#status('');
            this.#tell('joined');
        });
        on(e.CONFERENCE_FAILED, (error, ...details) => this.#failed(error, details));
        on(e.CONFERENCE_LEFT, () => {
            this.joined = false;
        });
        on(e.KICKED, (by, reason) => this.#ended(`You were removed from the meeting. ${reason ?? ''}`));
        on(e.CONNECTION_INTERRUPTED, () => this.#status('Connection interrupted, trying again…'));
        on(e.CONNECTION_RESTORED, () => this.#status(''));
        on(e.USER_JOINED, id => this.#tell('user', { id }));
        on(e.USER_LEFT, id => this.#tell('user-left', { id }));
        on(e.DISPLAY_NAME_CHANGED, id => this.#tell('user', { id }));
        on(e.USER_ROLE_CHANGED, id => this.#tell('role', { id }));
        on(e.DOMINANT_SPEAKER_CHANGED, id => this.#tell('speaker', { id }));
        on(e.TRACK_ADDED, track => !track.isLocal() && this.#tell('track', { track }));
        on(e.TRACK_REMOVED, track => !track.isLocal() && this.#tell('track-removed', { track }));
        on(e.TRACK_MUTE_CHANGED, track => this.#tell('mute', { track }));
        on(e.MESSAGE_RECEIVED, (id, text, ts) => this.#tell('chat', { id, text, ts }));
        on(e.CONFERENCE_ERROR, error => console.warn('conference', error));
        if (this.name) {
            conference.setDisplayName(this.name);
        }
        for (const track of this.tracks) {
            await conference.addTrack(track);
        }
        if (!this.over) {
            this.#status('Joining…');
            await this.#enter();
        }
    }

    /** Joins, or waits for the host if the meeting isn't open yet. */
    async #enter() {
        if (this.config.hosts.authdomain && !await this.#isOpen()) {
            this.#waitForHost();
        } else if (!this.over && !this.joined) {
            this.conference.join(this.roomPassword);
        }
    }

    /**
     * Asks the server whether we may open the meeting or it is open. The
     * library's own AUTHENTICATION_REQUIRED does not come in the npm build of
     * December 2021: it emits the event under the name undefined.
     */
    async #isOpen() {
        const url = new URL(this.config.conferenceRequestUrl ?? '/conference-request/v1', location.href);
        const stored = key => localStorage.getItem(key) ?? undefined;
        try {
            const response = await fetch(url, {
                method: 'POST',
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify({
                    room: `${roomNode(this.room)}@${this.config.hosts.muc}`,
                    // Where the library keeps what a login gave it.
                    machineUid: stored('jitsiMeetId'),
                    sessionId: stored('sessionId')
                })
            });
            return response.status !== 403;
        } catch (err) {
            console.warn('conference request', err);
            return true; // the library will find out
        }
    }

    #waitForHost() {
        if (!this.over && !this.joined) {
            this.#status('Waiting for the host…');
            this.#tell('waiting');
            this.#askAgain(WAIT_FOR_HOST);
        }
    }

    #failed(error, details) {
        console.warn('conference failed', error, details);
        if (this.over) {
            return;
        }
        const e = this.lib.errors.conference;
        switch (error) {
        case e.AUTHENTICATION_REQUIRED:
            this.#waitForHost();
            break;
        case e.PASSWORD_REQUIRED:
            this.#tell('password', { again: this.roomPassword !== undefined });
            break;
        case e.CONFERENCE_MAX_USERS:
            this.#ended('The meeting is full.');
            break;
        case e.NOT_ALLOWED_ERROR:
            this.#ended('You may not join this meeting.');
            break;
        case e.CONFERENCE_ACCESS_DENIED:
            this.#ended('You were not let in.');
            break;
        case e.MEMBERS_ONLY_ERROR:
            this.#knock();
            break;
        case e.DISPLAY_NAME_REQUIRED:
            this.#ended('This meeting wants to know your name.');
            break;
        case e.CONFERENCE_DESTROYED:
            this.#ended(details[0] || 'The meeting was ended.');
            break;
        case e.FOCUS_DISCONNECTED:
            // The library asks again by itself, after details[1] seconds.
            this.#status('The server does not answer, trying again…');
            break;
        default:
            // Bridge gone, ICE failed for good, restart: start afresh.
            this.#lost('The meeting was interrupted.');
        }
    }

    /**
     * Goes to the lobby. Whoever is let in, or finds the lobby closed because a host came, joins without our help
     * (LJM Lobby.join).
     */
    #knock() {
        const refused = () => this.#ended('Only invited people may join this meeting.');
        this.#tell('lobby');
        this.#status('Asking to be let in…');
        if (!this.conference.joinLobby) {
            refused();
            return;
        }
        this.conference.joinLobby(this.name || 'Guest').catch(err => {
            console.warn('lobby', err);
            refused();
        });
    }

    #askAgain(after) {
        clearTimeout(this.retry);
        this.retry = setTimeout(() => {
            if (!this.joined && !this.over) {
                this.#enter();
            }
        }, after);
    }

    #connectionFailed(error, message) {
        if (error === this.lib.errors.connection.PASSWORD_REQUIRED) {
            if (this.token) {
                this.#ended('The link you came with is not valid (any more).');
            } else if (!this.signInElsewhere()) {
                this.#ended('This server lets nobody in without an account.');
            }
            return;
        }
        this.#lost(message || String(error));
    }

    #status(text) {
        this.#tell('status', { text });
    }

    #ended(text) {
        if (!this.over) {
            this.leave();
            this.#tell('ended', { text });
        }
    }

    #lost(text) {
        if (!this.over) {
            this.leave();
            this.#tell('lost', { text });
        }
    }

    #tell(type, detail = {}) {
        this.dispatchEvent(new CustomEvent(type, { detail }));
    }
}
