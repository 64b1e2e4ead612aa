// The stock web app, clicked through by hand of a script: one page presses a button, the other shows what it did.
//
//     APP=/usr/share/jitsi-meet node app.mjs           # a build of the web app, English
//
// It prints a line for each button, `works` or `FAILS` with the reason, and leaves screenshots in .cache/app/.

import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { WebSocketServer } from 'ws';

import { Browser } from './harness/browser.mjs';
import { sleep, until } from './harness/figures.mjs';
import { cache } from './harness/paths.mjs';
import { Server } from './harness/server.mjs';

const shots = join(cache, 'app');
const patience = 20000;

mkdirSync(shots, { recursive: true });
if (!process.env.APP) {
    throw new Error('APP must name the directory of a web app build');
}

/** A service that transcribes: whoever talks to it has said hello. */
const transcriber = new WebSocketServer({ port: 0, host: '127.0.0.1' });

await once(transcriber, 'listening');
transcriber.on('connection', ws => ws.on('message', raw => {
    const m = JSON.parse(raw);

    if (m.event === 'start') {
        ws.send(JSON.stringify({
            event: 'transcription-result', type: 'transcription-result', message_id: m.start.tag, is_interim: false, language: 'en',
            participant: { id: m.start.customParameters.endpointId }, timestamp: Date.now(), transcript: [ { text: 'hello everybody' } ]
        }));
    }
}));
const web = `[web]\ndir = "${process.env.APP}"\n[transcription]\nurl = "ws://127.0.0.1:${transcriber.address().port}/"\n`;
let server = await Server.start('app', { toml: web });
let browser = await Browser.launch('app', server, {});
const results = [];
let room = 0;

/** A person in the app: a page and how its buttons are found. */
class Person {
    constructor(name, page) {
        this.name = name;
        this.page = page;
    }

    static async visit(name, path, config = '') {
        const page = await browser.visit(name, `${path}#userInfo.displayName="${name}"&config.prejoinConfig.enabled=false`
            + `&config.p2p.enabled=false&config.startWithAudioMuted=false&config.startAudioMuted=99&config.startVideoMuted=99`
            + `&config.toolbarConfig.alwaysVisible=true&config.notificationTimeouts={"short":60000}${config}`);

        return new Person(name, page);
    }

    label(text) {
        return this.page.locator(`[aria-label="${text}"]`).first();
    }

    /** Presses what has this label (a string, a pattern of it, or a selector with = or #). */
    async press(what) {
        await this.page.mouse.move(640, 300 + Math.random() * 50);
        const target = /[#=\[]/.test(what) ? this.page.locator(what).first() : this.page.locator(`[aria-label="${what}"]`).first();

        await target.click({ timeout: patience });
    }

    /** An entry of the "More actions" menu. */
    async more(what) {
        await this.page.mouse.move(640, 300 + Math.random() * 50);
        if (!await this.page.locator('#overflow-context-menu').isVisible().catch(() => false)) {
            await this.press('More actions');
        }
        await this.press(what);
    }

    async pane() {
        if (!await this.page.locator('#participants-pane, [aria-label="Close participants pane"]').first().isVisible().catch(() => false)) {
            await this.press('[aria-label^="Open participants panel"]');
        }
    }

    /** The row of somebody in the participants pane. */
    row(name) {
        return this.page.locator('[id^="participant-item-"], [data-testid^="participant-"], .list-item-container')
            .filter({ hasText: name }).first();
    }

    /** What is chosen in somebody's menu. */
    async choose(name, entry) {
        await this.pane();
        await this.row(name).hover({ timeout: patience });
        await this.row(name).locator('[aria-label^="More participant options"]').first().click({ timeout: patience });
        await this.page.getByText(entry, { exact: true }).last().click({ timeout: patience });
    }

    shows(text) {
        return this.page.getByText(text).filter({ visible: true }).first().waitFor({ timeout: patience });
    }

    has(selector) {
        return this.page.locator(selector).first().waitFor({ timeout: patience });
    }

    async shot(name) {
        await this.page.screenshot({ path: join(shots, `${name}-${this.name}.png`) }).catch(() => {});
    }
}

let people = [];

async function meeting(...names) {
    await Promise.all(people.map(p => p.page.close().catch(() => {})));
    people = [];
    room++;
    for (const name of names) {
        people.push(await enter(name));
    }

    return people;
}

async function enter(name) {
    const p = await Person.visit(name, `/demo${room}`);

    await p.page.locator('[aria-label="Leave the meeting"]').first().waitFor({ timeout: 60000 });
    await p.page.waitForFunction(() => APP.conference.isJoined?.() ?? APP.conference._room?.isJoined(), undefined, { timeout: patience });

    return p;
}

/** One button: what is done and seen. */
async function button(name, story) {
    try {
        await story();
        results.push([ name, true ]);
        console.log(`works ${name}`);
    } catch (e) {
        results.push([ name, false ]);
        console.log(`FAILS ${name}: ${e.message.split('\n').slice(0, 3).join(' ')}`);
        await Promise.all(people.map(async p => {
            await p.shot(name.replace(/\W+/g, '-'));
            await p.page.keyboard.press('Escape').catch(() => {}); // what is open is in the way of the next
        }));
    }
}

const state = (p, f, arg) => p.page.waitForFunction(f, arg, { timeout: patience });
// Who leaves a room before the answer to its offer is out fails in the app, and comes back after 20 s.
const settled = () => Promise.all(people.map(p => state(p, () => APP.conference._room.jvbJingleSession?.state === 'active')));
const remoteMuted = (p, name, type, muted) => state(p, ([ n, t, m ]) => {
    const r = APP.conference._room.getParticipants().find(x => x.getDisplayName() === n);

    return r && (t === 'audio' ? r.isAudioMuted() : r.isVideoMuted()) === m;
}, [ name, type, muted ]);

let [ ann, bob ] = await meeting('Ann', 'Bob');

await button('unmute microphone', async () => {
    await ann.press('Unmute microphone');
    await remoteMuted(bob, 'Ann', 'audio', false);
});
await button('mute microphone', async () => {
    await ann.press('Mute microphone');
    await remoteMuted(bob, 'Ann', 'audio', true);
});
await button('start camera', async () => {
    await ann.press('Start camera').catch(() => {});
    await remoteMuted(bob, 'Ann', 'video', false);
});
await button('stop camera', async () => {
    await ann.press('Stop camera');
    await remoteMuted(bob, 'Ann', 'video', true);
});
await button('share the screen', async () => {
    await ann.press('Start sharing your screen');
    await state(bob, () => APP.conference._room.getParticipants().some(p => p.getTracks().some(t => t.getVideoType?.() === 'desktop' && !t.isMuted())));
    await ann.press('Stop sharing your screen');
});
await button('raise the hand', async () => {
    await bob.press('Raise your hand');
    await ann.shows(/would like to speak|raised hand/i);
});
await button('reaction', async () => {
    await bob.press('Reactions menu');
    await bob.press('[aria-label="Thumbs up"], [aria-label="Clap"]');
    await ann.has('[id^="reaction-"], .reaction-0, [class*="reaction"]');
});
await button('chat', async () => {
    await ann.press('Open chat');
    await ann.page.locator('#chat-input-messagebox, textarea#chat-input').first().fill('good morning');
    await ann.page.keyboard.press('Enter');
    await bob.press('[aria-label^="Open chat"]');
    await bob.shows('good morning');
});
await button('private chat', async () => {
    await ann.press('Close chat').catch(() => {});
    await ann.choose('Bob', 'Send private message');
    await ann.page.locator('#chat-input-messagebox, textarea').first().fill('between us');
    await ann.page.keyboard.press('Escape');
    await ann.page.locator('[aria-label="Send message"], .send-button, #chat-input [type="submit"], [class*="sendButton"] button').first().click({ timeout: patience })
        .catch(() => ann.page.locator('#chat-input-messagebox, textarea').first().press('Enter'));
    await bob.shows('between us');
});
await button('poll', async () => {
    await ann.press('Open chat').catch(() => {});
    await ann.page.locator('#polls-tab, [aria-controls="polls-panel"], [id$="polls"]').first().click({ timeout: patience });
    await ann.page.getByText('Create a poll').first().click({ timeout: patience });
    await ann.page.locator('#polls-create-input, [id^="polls-create"]').first().fill('Lunch?');
    const options = ann.page.locator('[id^="polls-answer-input"]');

    await options.nth(0).fill('Pizza');
    await options.nth(1).fill('Soup');
    await ann.page.getByText('Save', { exact: true }).last().click({ timeout: patience });
    await ann.page.getByText('Send', { exact: true }).last().click({ timeout: patience });
    await bob.page.locator('#polls-tab, [aria-controls="polls-panel"], [id$="polls"]').first().click({ timeout: patience });
    await bob.shows('Lunch?');
    await bob.page.getByText('Pizza').first().click();
    await bob.page.getByText('Submit', { exact: true }).first().click({ timeout: patience });
    await bob.shows(/100 ?%/);
    await state(ann, () => Object.values(APP.store.getState()['features/polls'].polls).some(p => p.answers[0].voters?.length === 1));
});
await button('subject and timer', async () => {
    await bob.has('.subject-timer, [class*="timer"], .subject');
});
await button('mute somebody', async () => {
    await bob.press('Unmute microphone').catch(() => {});
    await remoteMuted(ann, 'Bob', 'audio', false);
    await ann.choose('Bob', 'Mute');
    await remoteMuted(ann, 'Bob', 'audio', true);
});
await button('AV moderation and asking to unmute', async () => {
    await ann.pane();
    await ann.press('More moderation options');
    await ann.press('#participants-pane-context-menu-start-audio-moderation');
    await state(bob, () => APP.store.getState()['features/av-moderation'].audioModerationEnabled);
    await ann.page.keyboard.press('Escape');
    await ann.choose('Bob', 'Ask to unmute').catch(() => ann.press('Ask to unmute Bob'));
    await state(bob, () => APP.store.getState()['features/av-moderation'].audioUnmuteApproved);
});
await button('grant moderator rights', async () => {
    await ann.choose('Bob', 'Grant Moderator Rights');
    await ann.page.getByText('Yes', { exact: true }).or(ann.page.locator('#modal-dialog-ok-button')).first().click({ timeout: patience });
    await state(bob, () => APP.conference._room.isModerator());
});
await button('participants statistics', async () => {
    await ann.more('Toggle participants statistics');
    await ann.has('.speaker-stats, [class*="speakerStats"], [class*="speaker-stats"]');
    await ann.page.keyboard.press('Escape');
});
await button('shared video', async () => {
    await ann.more('[aria-label*="hare video" i], [aria-label*="haring a video" i], [aria-label*="hare a video" i]');
    await ann.page.locator('#shared-video-url-input, input[name="sharedVideoUrl"], [role="dialog"] input').first().fill('https://www.youtube.com/watch?v=jNQXAC9IVRw');
    await ann.page.locator('#modal-dialog-ok-button').click({ timeout: patience });
    await state(bob, () => Boolean(APP.store.getState()['features/shared-video'].videoUrl));
});
await button('mute all', async () => {
    await bob.press('Unmute microphone').catch(() => {});
    await remoteMuted(ann, 'Bob', 'audio', false);
    await ann.pane();
    await ann.press('Mute all');
    await ann.page.locator('#modal-dialog-ok-button').first().click({ timeout: patience });
    await remoteMuted(ann, 'Bob', 'audio', true);
});
await button('recording', async () => {
    await ann.press('More actions');
    await ann.page.getByText(/^Record( & Transcribe)?$/).first().click({ timeout: patience });
    await ann.shows(/Start recording/i);
    await ann.page.locator('#modal-dialog-cancel-button, [aria-label="Close dialog"]').first().click({ timeout: patience });
});
await button('moderator settings: start muted, follow me', async () => {
    await ann.more('Open settings');
    await ann.page.locator('[id^="dialogtab-button-moderator"]').click({ timeout: patience });
    for (const name of [ 'start-video-muted', 'follow-me' ]) {
        await ann.page.locator(`input[name="${name}"]`).check({ timeout: patience, force: true });
    }
    await ann.page.locator('#modal-dialog-ok-button').click({ timeout: patience });
    await state(bob, () => APP.store.getState()['features/follow-me'].moderator);
    // Only who comes later is told to start muted.
    await state(ann, () => APP.conference._room.getMetadataHandler().getMetadata().startMuted?.video);
    await ann.page.keyboard.press('Escape');
    await ann.press('Toggle tile view').catch(() => ann.press('[aria-label*="tile view" i]'));
    const tiles = await ann.page.evaluate(() => Boolean(APP.store.getState()['features/video-layout'].tileViewEnabled));

    await state(bob, t => Boolean(APP.store.getState()['features/video-layout'].tileViewEnabled) === t, tiles);
});
await button('kick', async () => {
    await ann.choose('Bob', 'Kick out');
    await ann.page.locator('#modal-dialog-ok-button').first().click({ timeout: patience });
    await bob.shows(/kicked you out|You were kicked|been kicked/i);
});

[ ann, bob ] = await meeting('Ann', 'Bob');
await button('password', async () => {
    await ann.more('Security options');
    await ann.press('Add meeting password').catch(() => ann.page.getByText(/Add .?password/).first().click());
    await ann.page.locator('#required-password-input, input[type="password"], [name="lockKey"]').first().fill('sesame');
    await ann.page.keyboard.press('Enter');
    await state(bob, () => APP.store.getState()['features/base/conference'].locked);
    await ann.page.keyboard.press('Escape');
    const cem = await Person.visit('Cem', `/demo${room}`);

    people.push(cem);
    await cem.page.locator('#required-password-input, input[name="lockKey"], [role="dialog"] input').first().fill('sesame', { timeout: patience });
    await cem.page.keyboard.press('Enter');
    await cem.has('[aria-label="Leave the meeting"]');
    await state(ann, () => APP.conference._room.getParticipants().some(p => p.getDisplayName() === 'Cem'));
});

[ ann, bob ] = await meeting('Ann', 'Bob');
await button('lobby', async () => {
    await ann.more('Security options');
    await ann.page.locator('#lobby-section-switch, [for="lobby-section-switch"], [id*="lobby"] input').first().click({ timeout: patience, force: true });
    await state(bob, () => APP.store.getState()['features/base/conference'].membersOnly || APP.store.getState()['features/lobby'].lobbyEnabled);
    await ann.page.keyboard.press('Escape');
    const cem = await Person.visit('Cem', `/demo${room}`);

    people.push(cem);
    await cem.page.locator('[data-testid="lobby.knockButton"], [aria-label="Ask to join"]').first().click({ timeout: 3000 }).catch(() => {});
    await state(ann, () => APP.store.getState()['features/lobby'].knockingParticipants.length === 1);
});
await button('chat with somebody in the lobby', async () => {
    const cem = people[2];

    await ann.page.locator('[data-testid="lobby.chat"], [aria-label^="Chat Cem"]').or(ann.page.getByText('Chat', { exact: true })).filter({ visible: true }).first()
        .click({ timeout: patience });
    await ann.page.locator('#chat-input-messagebox, textarea').first().fill('who are you?');
    await ann.page.locator('#chat-input-messagebox, textarea').first().press('Enter');
    await cem.shows('who are you?');
});
await button('admit from the lobby', async () => {
    await ann.page.locator('[data-testid="lobby.admit"], [aria-label^="Admit"], [id^="admit"]').first().click({ timeout: patience })
        .catch(() => ann.page.getByText('Admit').first().click({ timeout: patience }));
    await state(ann, () => APP.conference._room.getParticipants().some(p => p.getDisplayName() === 'Cem'));
});

[ ann, bob ] = await meeting('Ann', 'Bob');
await button('breakout rooms', async () => {
    await settled();
    await ann.pane();
    await ann.page.getByText('Add breakout room').first().click({ timeout: patience });
    await bob.pane();
    await bob.shows(/Breakout room #?1/);
    await bob.page.getByText(/Breakout room #?1/).first().hover();
    await bob.page.getByText('Join', { exact: true }).first().click({ timeout: patience });
    await state(ann, () => APP.conference._room.getParticipants().length === 0);
    await bob.has('[aria-label="Leave the meeting"]');
    await bob.pane();
    await bob.page.getByText('Leave breakout room').first().click({ timeout: patience });
    await state(ann, () => APP.conference._room.getParticipants().some(p => p.getDisplayName() === 'Bob'));
});
await button('breakout rooms: assign all, close', async () => {
    people.push(await enter('Cem')); // two are not assigned
    await settled();
    await ann.pane();
    await ann.page.getByText('Auto assign to breakout rooms').first().click({ timeout: patience });
    await state(ann, () => APP.conference._room.getParticipants().length === 0);
    await Promise.all(people.slice(1).map(p => state(p, () => APP.conference._room.isJoined() && APP.conference._room.getBreakoutRooms().isBreakoutRoom())));
    await ann.page.locator('#participants-pane, .participants_pane').getByText('Breakout roo').filter({ visible: true }).first().hover({ timeout: patience });
    await ann.page.locator('[aria-label="More"]').first().click({ timeout: patience });
    await ann.page.locator('[aria-label="Close"]').or(ann.page.getByText('Close', { exact: true })).filter({ visible: true }).last().click({ timeout: patience });
    await state(ann, () => APP.conference._room.getParticipants().some(p => p.getDisplayName() === 'Bob'));
});

[ ann, bob ] = await meeting('Ann', 'Bob');
await button('whiteboard', async () => {
    await ann.more('Show whiteboard');
    await state(bob, () => APP.store.getState()['features/whiteboard']?.collabDetails);
    const canvas = p => p.page.locator('.excalidraw canvas').first();
    const drawn = async p => (await canvas(p).screenshot()).toString('base64');

    await canvas(ann).waitFor({ timeout: patience });
    await canvas(bob).waitFor({ timeout: patience });
    const before = await drawn(bob);
    const { x, y } = await canvas(ann).boundingBox();

    await ann.page.locator('.excalidraw [data-testid="toolbar-rectangle"], .excalidraw [title^="Rectangle"]').first().click({ timeout: patience, force: true });
    await ann.page.mouse.move(x + 200, y + 200);
    await ann.page.mouse.down();
    await ann.page.mouse.move(x + 400, y + 350, { steps: 5 });
    await ann.page.mouse.up();
    await until('Bob sees the drawing', async () => await drawn(bob) !== before, { timeout: patience });
});

[ ann, bob ] = await meeting('Ann', 'Bob');
await button('file sharing', async () => {
    await ann.press('Open chat').catch(() => {});
    await ann.page.locator('#file-sharing-tab, [id*="file-sharing"], [aria-controls*="file"]').first().click({ timeout: patience });
    await ann.page.locator('input[type="file"]').first().setInputFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('hello') });
    await bob.press('Open chat').catch(() => {});
    await bob.page.locator('#file-sharing-tab, [id*="file-sharing"], [aria-controls*="file"]').first().click({ timeout: patience });
    await bob.shows('notes.txt');
});
await button('download of a shared file', async () => {
    await bob.page.getByText('notes.txt').filter({ visible: true }).last().hover();
    const [ download ] = await Promise.all([
        bob.page.waitForEvent('download', { timeout: patience }),
        bob.page.locator('[aria-label="Download notes.txt"]').filter({ visible: true }).last().click({ timeout: patience, force: true })
    ]);
    const text = await readFile(await download.path(), 'utf8');

    if (download.suggestedFilename() !== 'notes.txt' || text !== 'hello') {
        throw new Error(`${download.suggestedFilename()}: ${text}`);
    }
});
await button('removal of a shared file', async () => {
    await ann.page.getByText('notes.txt').filter({ visible: true }).last().hover();
    await ann.page.locator('[aria-label="Remove notes.txt"], [aria-label$="emove file notes.txt"], [aria-label^="Remove"]').filter({ visible: true }).last().click({ timeout: patience, force: true });
    await state(bob, () => APP.store.getState()['features/file-sharing'].files.size === 0);
});
[ ann, bob ] = await meeting('Ann', 'Bob');
await button('closed captions', async () => {
    await ann.press('Unmute microphone');
    await ann.more('Closed captions');
    await ann.page.getByText('Start closed captions').first().click({ timeout: patience });
    await ann.page.getByText('Record transcription').waitFor({ timeout: patience });
    await ann.page.locator('[role=dialog] input[type=checkbox]').nth(1).click({ timeout: patience, force: true }); // no file as well
    await ann.page.locator('#modal-dialog-ok-button').click({ timeout: patience });
    await ann.shows('hello everybody');
    await ann.page.locator('[aria-label="Close"], [aria-label="Close chat"]').first().click({ timeout: patience });
});
await button('end the meeting for all', async () => {
    await ann.press('Leave the meeting');
    await ann.page.getByText('End meeting for all').first().click({ timeout: patience });
    await bob.shows(/ended|terminated/i);
});

await browser.close();
await server.stop();
server = await Server.start('app-visitors', { toml: `${web}[visitors]\nafter = 2\n` });
browser = await Browser.launch('app-visitors', server, {});
people = [];
[ ann, bob ] = await meeting('Ann', 'Bob');
let eve;

const visiting = (p, yes) => state(p, y => APP.conference._room?.isJoined() && APP.store.getState()['features/visitors'].iAmVisitor === y, yes);

await button('a third becomes a viewer', async () => {
    eve = await enter('Eve');
    people.push(eve);
    await visiting(eve, true);
    await state(eve, () => APP.conference._room.getParticipants().length === 2);
    await ann.press('Unmute microphone');
    await remoteMuted(eve, 'Ann', 'audio', false);
    await eve.page.keyboard.press('Escape');
});
await button('a viewer chats', async () => {
    await eve.press('Open chat');
    await eve.page.locator('#chat-input-messagebox, textarea#chat-input').first().fill('hello from the gallery');
    await eve.page.keyboard.press('Enter');
    await ann.press('[aria-label^="Open chat"]');
    await ann.shows('hello from the gallery');
    await ann.press('Close chat').catch(() => {});
});
await button('a viewer asks to take part and is let in', async () => {
    await eve.press('[aria-label="Raise your hand"]');
    await state(ann, () => APP.store.getState()['features/visitors'].promotionRequests?.length === 1);
    await ann.pane();
    await ann.page.locator('[aria-label="Admit Eve"]').or(ann.page.getByText('Admit', { exact: true })).filter({ visible: true }).first().click({ timeout: patience });
    await visiting(eve, false);
    await state(ann, () => APP.conference._room.getParticipants().some(p => p.getDisplayName() === 'Eve'));
});
await button('back to the viewers', async () => {
    await ann.choose('Eve', 'Move to viewer');
    await ann.page.locator('#modal-dialog-ok-button').first().click({ timeout: patience });
    await visiting(eve, true);
    await state(ann, () => APP.conference._room.getParticipants().length === 1);
});

await sleep(200);
await browser.close();
await server.stop();
const failed = results.filter(([ , ok ]) => !ok);

console.log(`${results.length - failed.length} of ${results.length} buttons work; screenshots of the others in ${shots}`);
process.exitCode = failed.length ? 1 : 0;
