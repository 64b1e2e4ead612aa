// Microphone and camera. Whoever refuses one can still join with the other.

export class Devices extends EventTarget {
    constructor(lib, config) {
        super();
        this.lib = lib;
        this.config = config;
        this.tracks = {}; // by type, 'audio' and 'video'
        this.wanted = { audio: !config.startWithAudioMuted, video: !config.startWithVideoMuted };
        this.busy = {};
    }

    /** Opens what is wanted; resolves with the kinds that could not be had. */
    async open() {
        const kinds = [ 'audio', 'video' ].filter(k => this.wanted[k]);
        if (!kinds.length) {
            return [];
        }
        try {
            this.#keep(await this.#create(kinds));
            return [];
        } catch (err) {
            console.warn('devices', err);
        }
        const failed = [];
        for (const kind of kinds) {
            try {
                this.#keep(await this.#create([ kind ]));
            } catch (err) {
                console.warn(kind, err);
                this.wanted[kind] = false;
                failed.push(kind);
            }
        }
        this.#changed();
        return failed;
    }

    /** True when the kind is on and sending, or will be after joining. */
    on(kind) {
        return Boolean(this.tracks[kind]) && !this.tracks[kind].isMuted();
    }

    list() {
        return Object.values(this.tracks);
    }

    /** Turns a kind on or off; adds a new track to the meeting when there is one. */
    async toggle(kind, meeting) {
        if (this.busy[kind]) {
            return;
        }
        this.busy[kind] = true;
        try {
            const track = this.tracks[kind];
            if (!track) {
                this.#keep(await this.#create([ kind ]));
                await meeting?.addTrack(this.tracks[kind]);
            } else if (track.isMuted()) {
                await track.unmute();
            } else {
                await track.mute();
            }
            this.wanted[kind] = this.on(kind);
        } finally {
            this.busy[kind] = false;
            this.#changed();
        }
    }

    async close() {
        const tracks = this.list();
        this.tracks = {};
        await Promise.allSettled(tracks.map(t => t.dispose()));
    }

    async #create(devices) {
        if (!navigator.mediaDevices?.getUserMedia) {
            throw new Error('This browser gives no access to camera and microphone here; HTTPS is needed.');
        }
        return this.lib.createLocalTracks({
            devices,
            resolution: this.config.resolution ?? 720,
            constraints: this.config.constraints
        });
    }

    #keep(tracks) {
        const { LOCAL_TRACK_STOPPED, TRACK_MUTE_CHANGED } = this.lib.events.track;
        for (const track of tracks) {
            this.tracks[track.getType()] = track;
            track.addEventListener(TRACK_MUTE_CHANGED, () => this.#changed());
            track.addEventListener(LOCAL_TRACK_STOPPED, () => this.#changed());
        }
        this.#changed();
    }

    #changed() {
        this.dispatchEvent(new Event('change'));
    }
}
