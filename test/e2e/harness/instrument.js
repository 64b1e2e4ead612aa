// Runs before the library: keeps hold of what it makes, and notes what happens when.
//
// All times are ms since the epoch, so that those of several pages can be compared.

'use strict';

window.instrument = (() => {
    const peerConnections = [];
    const sockets = [];
    const channels = [];
    const events = [];
    let descriptions = 0;
    const now = () => performance.timeOrigin + performance.now();

    /** Appends to the page's diary; the Node side reads and searches it. */
    const note = (name, detail = {}) => {
        events.push({ at: now(), name, ...detail });
    };

    // The bridge's port in the offered candidates becomes that of the proxy, where the test may cut the network.
    const { media, bitrate } = window.harness ?? {};
    const redirect = text => media
        ? text.replace(new RegExp(`(candidate:\\S+ \\d \\w+ \\d+ \\S+) ${media.from} typ`, 'g'), `$1 ${media.to} typ`)
        : text;

    // Two cores that encode for three and decode for six look like a slow network to the browser's bandwidth
    // estimation. A test that needs all layers tells it what the network can carry at least.
    const pin = sdp => bitrate
        ? sdp.replace(/a=rtpmap:(\d+) (?:VP8|VP9|AV1|H264)\/90000\r\n/g,
            `$&a=fmtp:$1 x-google-start-bitrate=${bitrate};x-google-min-bitrate=${bitrate}\r\n`)
        : sdp;

    window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(...args) {
            super(...args);
            peerConnections.push(this);
            this.addEventListener('connectionstatechange',
                () => note('peerconnection', { index: peerConnections.indexOf(this), state: this.connectionState }));
            this.addEventListener('datachannel', e => channels.push(e.channel));
        }

        createDataChannel(...args) {
            const channel = super.createDataChannel(...args);

            channels.push(channel);

            return channel;
        }

        setRemoteDescription(description, ...rest) {
            descriptions++;

            return super.setRemoteDescription(
                description?.sdp ? { type: description.type, sdp: pin(redirect(description.sdp)) } : description, ...rest);
        }

        addIceCandidate(candidate, ...rest) {
            if (candidate?.candidate) {
                const { sdpMid, sdpMLineIndex } = candidate;

                return super.addIceCandidate(
                    { candidate: redirect(candidate.candidate), sdpMid, sdpMLineIndex }, ...rest);
            }

            return super.addIceCandidate(candidate, ...rest);
        }
    };

    window.WebSocket = class extends WebSocket {
        constructor(url, ...rest) {
            super(url, ...rest);
            sockets.push(this);
            const kind = String(url).includes('colibri-ws') ? 'bridge' : 'xmpp';

            this.addEventListener('open', () => note(`${kind} socket open`));
            this.addEventListener('message', e => String(e.data).startsWith('<resumed') && note('resumed'));
            this.addEventListener('close', e => note(`${kind} socket closed`, { code: e.code }));
        }
    };

    return { peerConnections, sockets, channels, events, note, now, negotiations: () => descriptions };
})();
