// Subtitles without a gateway: the bridge sends what is said to a service, and the library hands on what that understood.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { WebSocketServer } from 'ws';

import { until } from './harness/figures.mjs';
import { gather, last, stage } from './harness/meeting.mjs';
import { generation } from './harness/paths.mjs';

test('subtitles', { timeout: 360000, skip: generation() === 2021 && 'the library has no metadata' }, async t => {
    const service = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    const heard = [];
    let socket;

    service.on('connection', ws => {
        socket = ws;
        ws.on('message', m => heard.push(JSON.parse(m)));
    });
    await once(service, 'listening');
    last(t, () => service.close());
    const { browser } = await stage(t, 'subtitles', {
        toml: `[transcription]\nurl = "ws://127.0.0.1:${service.address().port}/{{MEETING_ID}}"`
    });
    const [ ann ] = await gather(browser, 'subtitles', [ 'Ann' ], { video: false });

    last(t, () => ann.close());
    await until('Ann moderates', () => ann.call('isModerator'));
    await ann.call('getMetadataHandler.setMetadata', 'recording', { isTranscribingEnabled: true });
    const media = await until('Ann is heard', () => heard.find(m => m.event === 'media' && Buffer.from(m.media.payload, 'base64').length > 3));

    assert.equal(media.media.tag, `${ann.id}-a0`);
    const result = { event: 'transcription-result', type: 'transcription-result', language: 'en', participant: { id: ann.id }, transcript: [ { text: 'hello' } ] };

    socket.send(JSON.stringify(result));
    const [ from, payload ] = await ann.told('NON_PARTICIPANT_MESSAGE_RECEIVED', id => id === 'transcriber');

    assert.equal(from, 'transcriber');
    assert.deepEqual(payload, result);
    await ann.call('getMetadataHandler.setMetadata', 'recording', { isTranscribingEnabled: false });
    await until('the service is told that it is over', () => heard.some(m => m.event === 'session-end'));
});
