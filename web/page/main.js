// The page: welcome, preview, meeting, end. See meeting.js for the protocol side.

import { Chat } from './chat.js';
import { Devices } from './devices.js';
import { dialogs } from './dialogs.js';
import { Meeting } from './meeting.js';
import { freshRoom, roomOfPath, typedRoom } from './room.js';
import { comeback, configuration, readFragment, savedName } from './settings.js';
import { Tiles } from './tiles.js';

const $ = id => document.getElementById(id);
const views = [ 'welcome', 'prejoin', 'meeting', 'ended' ];
const lib = window.JitsiMeetJS;
const fragment = readFragment(location.hash);
const room = roomOfPath(location.pathname);

function show(view) {
    for (const v of views) {
        $(v).hidden = v !== view;
    }
}

function end(title, text) {
    $('ended-title').textContent = title;
    $('ended-text').textContent = text;
    show('ended');
}

function welcome() {
    $('room-name').value = freshRoom();
    $('welcome-form').addEventListener('submit', ev => {
        ev.preventDefault();
        const name = typedRoom($('room-name').value);
        if (name) {
            location.href = encodeURIComponent(name) + location.hash; // stays below a tenant
        }
    });
    show('welcome');
    $('room-name').select();
}

/** Everything of a page that has a room. */
class Page {
    constructor(config) {
        this.config = config;
        this.tries = 0; // to come back, without a meeting in between
        this.devices = new Devices(lib, config);
        this.tiles = new Tiles($('tiles'));
        this.chat = new Chat({
            panel: $('chat-panel'), list: $('messages'), form: $('chat-form'), input: $('chat-text'), unread: $('unread')
        });
        this.chat.send = text => this.meeting.sendChat(text);
        this.devices.addEventListener('change', () => this.showDevices());
        for (const button of document.querySelectorAll('[data-toggle]')) {
            button.addEventListener('click', () => this.toggle(button.dataset.toggle));
        }
        $('join-form').addEventListener('submit', ev => {
            ev.preventDefault();
            this.join();
        });
        $('leave-button').addEventListener('click', () => this.leave());
        $('chat-button').addEventListener('click', () => this.chat.toggle());
        $('chat-close').addEventListener('click', () => this.chat.toggle(false));
        $('host-button').addEventListener('click', () => this.dialogs?.openLogin());
        $('copy-button').addEventListener('click', () => this.copy());
        $('rejoin').addEventListener('click', () => location.reload());
        $('home').addEventListener('click', () => {
            location.href = location.pathname.replace(/[^/]*$/, '');
        });
        this.tiles.onblocked = () => {
            $('unblock').hidden = false;
        };
        $('unblock').addEventListener('click', () => {
            $('unblock').hidden = true;
            this.tiles.play();
        });
        // A tab that is closed leaves at once instead of after a timeout.
        window.addEventListener('pagehide', ev => ev.persisted || this.meeting?.leave());
    }

    async prejoin() {
        const back = comeback.take();
        const returning = back?.room === room ? back : null;
        const name = returning?.name ?? fragment.name ?? savedName.get();
        $('display-name').value = typeof name === 'string' ? name : '';
        $('display-name').required = Boolean(this.config.requireDisplayName);
        $('prejoin-room').textContent = room;
        document.title = `${room} · Confab`;
        if (returning) {
            this.tries = returning.tries ?? 0;
            this.devices.wanted = { audio: returning.audio, video: returning.video };
        }
        show('prejoin');
        const failed = await this.devices.open();
        this.showDevices();
        if (failed.length) {
            $('prejoin-note').textContent = navigator.mediaDevices?.getUserMedia
                ? `No access to ${failed.map(k => (k === 'audio' ? 'microphone' : 'camera')).join(' and ')}. You can join without.`
                : 'Browsers give camera and microphone to HTTPS pages only. You can join without.';
        }
        if ((returning || fragment.join || this.config.prejoinConfig?.enabled === false) && $('join-form').reportValidity()) {
            this.join();
        }
    }

    async toggle(kind) {
        try {
            await this.devices.toggle(kind, this.meeting);
        } catch (err) {
            const text = err?.message || String(err);
            $('status').textContent = text;
            $('prejoin-note').textContent = text;
        }
    }

    showDevices() {
        for (const button of document.querySelectorAll('[data-toggle]')) {
            const on = this.devices.on(button.dataset.toggle);
            const what = button.dataset.toggle === 'audio' ? 'microphone' : 'camera';
            button.setAttribute('aria-pressed', String(on));
            button.title = `Turn the ${what} ${on ? 'off' : 'on'}`;
        }
        const { video } = this.devices.tracks;
        if (video && video !== this.previewed && !this.meeting) {
            video.attach($('preview'));
            this.previewed = video;
        }
        $('preview').hidden = !this.devices.on('video');
        $('preview-note').hidden = this.devices.on('video');
        const me = this.meeting?.myId();
        if (me && this.tiles.tiles.has(me)) {
            for (const track of this.devices.list()) {
                this.tiles.attach(me, track);
            }
        }
    }

    join() {
        if (this.meeting) {
            return;
        }
        const name = $('display-name').value.trim();
        savedName.set(name);
        const token = new URLSearchParams(location.search).get('jwt') ?? undefined;
        const meeting = new Meeting({ lib, config: this.config, room, name, token });
        this.meeting = meeting;
        this.dialogs = dialogs(meeting, { leave: () => this.leave() });
        this.previewed?.detach($('preview'));
        $('room-title').textContent = room;
        show('meeting');
        const on = (type, f) => meeting.addEventListener(type, ev => f(ev.detail));
        on('status', ({ text }) => {
            $('status').textContent = text;
        });
        on('joined', () => this.joined());
        on('waiting', () => this.dialogs.wait(false));
        on('lobby', () => this.dialogs.wait(true));
        on('password', ({ again }) => this.dialogs.askPassword(again));
        on('user', ({ id }) => this.person(id));
        on('user-left', ({ id }) => {
            this.tiles.remove(id);
            this.peopleChanged();
        });
        on('role', ({ id }) => this.role(id));
        on('speaker', ({ id }) => this.tiles.speaker(id));
        on('track', ({ track }) => {
            this.person(track.getParticipantId());
            this.tiles.attach(track.getParticipantId(), track);
        });
        on('track-removed', ({ track }) => this.tiles.detach(track.getParticipantId(), track));
        on('mute', ({ track }) => this.tiles.update(track, track.getParticipantId()));
        on('chat', ({ id, text, ts }) => this.chat.add({
            name: meeting.nameOf(id), text, ts, mine: id === meeting.myId()
        }));
        on('ended', ({ text }) => this.finish('The meeting is over for you', text));
        on('lost', ({ text }) => this.lost(text));
        meeting.start(this.devices.list());
    }

    joined() {
        this.tries = 0;
        this.dialogs.closeAll();
        const me = this.meeting.myId();
        this.tiles.person(me, this.meeting.nameOf(me), { local: true });
        this.showDevices();
        this.role(me);
        this.peopleChanged();
    }

    person(id) {
        if (id === this.meeting.myId()) {
            return;
        }
        this.tiles.person(id, this.meeting.nameOf(id));
        this.role(id);
        this.peopleChanged();
    }

    role(id) {
        const { conference } = this.meeting;
        const mine = id === this.meeting.myId();
        const is = mine ? this.meeting.isModerator() : conference.getParticipantById(id)?.isModerator();
        this.tiles.moderator(id, Boolean(is));
        if (mine) {
            $('host-button').hidden = is;
        }
    }

    peopleChanged() {
        const n = this.tiles.people();
        $('people').textContent = n === 1 ? 'Only you' : `${n} people`;
        this.meeting.limitVideo(n <= 5 ? 720 : n <= 10 ? 360 : 180);
    }

    async copy() {
        const address = location.origin + location.pathname;
        try {
            await navigator.clipboard.writeText(address);
            $('status').textContent = 'Address copied.';
        } catch {
            $('status').textContent = address;
        }
        setTimeout(() => {
            $('status').textContent = '';
        }, 3000);
    }

    async leave() {
        await this.meeting.leave();
        this.finish('You left the meeting', '');
    }

    finish(title, text) {
        this.dialogs.dispose();
        this.tiles.clear();
        this.chat.clear();
        this.devices.close();
        end(title, text);
    }

    /**
     * The server or the way to it went: wait until it answers, then start the
     * page anew, as the stock client does.
     */
    async lost(text) {
        comeback.leave({
            room,
            name: $('display-name').value.trim(),
            audio: this.devices.wanted.audio,
            video: this.devices.wanted.video,
            tries: this.tries + 1
        });
        this.finish('Connection lost', `${text} Coming back by itself…`);
        // Sooner at first, and not everybody at the same moment.
        for (let pause = Math.min(1000 * (1.5 ** this.tries), 15000); ; pause = Math.min(pause * 1.5, 15000)) {
            await new Promise(done => setTimeout(done, pause + (Math.random() * 1500)));
            try {
                if ((await fetch('/about/health', { cache: 'no-store' })).ok) {
                    location.reload();
                    return;
                }
            } catch { /* still away */ }
        }
    }
}

if (!lib || !window.config) {
    end('This page is not complete',
        lib ? 'config.js is missing.' : 'The client library was not built in: run make, which fetches it.');
    $('rejoin').hidden = $('home').hidden = true;
} else if (room) {
    const config = configuration(window.config, fragment.overrides);
    lib.init(config);
    lib.setLogLevel(lib.logLevels.WARN);
    const page = new Page(config);
    window.confab = page; // for tests and for the curious
    page.prejoin();
} else {
    welcome();
}
