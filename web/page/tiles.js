// The grid of people: one tile each, one more for a shared screen.

const GAP = 8;

export class Tiles {
    constructor(grid) {
        this.grid = grid;
        this.tiles = new Map(); // key → { el, video, audio, tracks }
        this.onblocked = () => {}; // the browser wants a click before it plays
        new ResizeObserver(() => this.layout()).observe(grid);
    }

    /** Number of people, without shared screens. */
    people() {
        return [ ...this.tiles.values() ].filter(t => !t.screen).length;
    }

    count() {
        return this.tiles.size;
    }

    person(id, name, { local = false } = {}) {
        const tile = this.tiles.get(id) ?? this.#create(id, local);
        tile.el.dataset.name = name;
        tile.label.textContent = local ? `${name} (you)` : name;
        tile.face.textContent = initials(name);
        return tile;
    }

    remove(id) {
        for (const key of [ id, `${id} screen` ]) {
            this.#removeTile(key);
        }
        this.layout();
    }

    clear() {
        for (const key of [ ...this.tiles.keys() ]) {
            this.#removeTile(key);
        }
    }

    /** Shows or plays a track of a person. */
    attach(id, track) {
        const screen = track.getType() === 'video' && track.videoType === 'desktop' && !track.isLocal();
        const key = screen ? `${id} screen` : id;
        const tile = this.tiles.get(key) ?? this.#create(key, false, screen);
        if (screen) {
            tile.label.textContent = `${this.tiles.get(id)?.el.dataset.name ?? 'Guest'}: screen`;
        }
        const kind = track.getType();
        const old = tile.tracks[kind];
        if (old && old !== track) {
            old.detach(tile[kind]);
        }
        tile.tracks[kind] = track;
        if (!(kind === 'audio' && track.isLocal())) {
            track.attach(tile[kind]);
            tile[kind].play?.().catch(err => err.name === 'NotAllowedError' && this.onblocked());
        }
        this.update(track, id);
        this.layout();
    }

    detach(id, track) {
        for (const key of [ id, `${id} screen` ]) {
            const tile = this.tiles.get(key);
            const kind = track.getType();
            if (tile?.tracks[kind] === track) {
                track.detach(tile[kind]);
                delete tile.tracks[kind];
                if (tile.screen) {
                    this.#removeTile(key);
                } else {
                    this.#marks(tile);
                }
            }
        }
        this.layout();
    }

    /** Takes over that a track was muted or unmuted. */
    update(track, id) {
        for (const key of [ id, `${id} screen` ]) {
            const tile = this.tiles.get(key);
            if (tile && Object.values(tile.tracks).includes(track)) {
                this.#marks(tile);
            }
        }
    }

    speaker(id) {
        for (const [ key, tile ] of this.tiles) {
            tile.el.classList.toggle('speaking', key === id);
        }
    }

    moderator(id, is) {
        this.tiles.get(id)?.el.classList.toggle('moderator', is);
    }

    /** Starts everything that the browser refused to play before a click. */
    play() {
        for (const t of this.tiles.values()) {
            t.audio.play().catch(() => {});
            t.video.play().catch(() => {});
        }
    }

    /** As many columns as make the tiles largest. */
    layout() {
        const n = this.tiles.size;
        const width = this.grid.clientWidth - (2 * GAP);
        const height = this.grid.clientHeight;
        if (!n || width <= 0 || height <= 0) {
            return;
        }
        const aspect = width < height ? 1 : 16 / 9; // upright phones waste less on squares
        let best = { columns: 1, tile: 0 };
        for (let columns = 1; columns <= n; columns++) {
            const rows = Math.ceil(n / columns);
            const byWidth = (width - ((columns - 1) * GAP)) / columns;
            const byHeight = (height - ((rows - 1) * GAP)) / rows * aspect;
            const tile = Math.floor(Math.min(byWidth, byHeight));
            if (tile > best.tile) {
                best = { columns, tile };
            }
        }
        // Below this a face can't be made out: scroll instead.
        if (best.tile < 130) {
            best = { columns: Math.max(1, Math.floor(width / 170)), tile: 170 };
        }
        this.grid.style.setProperty('--columns', best.columns);
        this.grid.style.setProperty('--tile', `${best.tile}px`);
        this.grid.style.setProperty('--aspect', aspect);
    }

    #create(key, local, screen = false) {
        const el = document.createElement('div');
        el.className = 'tile no-video no-audio';
        el.classList.toggle('mirror', local);
        el.classList.toggle('screen', screen);
        el.dataset.id = key;
        const video = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true, muted: true });
        const audio = Object.assign(document.createElement('audio'), { autoplay: true });
        const face = document.createElement('span');
        const faceBox = document.createElement('div');
        faceBox.className = 'face';
        faceBox.append(face);
        const label = document.createElement('span');
        const nameBox = document.createElement('div');
        nameBox.className = 'name';
        nameBox.append(offIcon(), label);
        el.append(video, audio, faceBox, nameBox);
        this.grid.append(el);
        const tile = { el, video, audio, face, label, tracks: {}, screen };
        this.tiles.set(key, tile);
        this.#marks(tile);
        this.layout();
        return tile;
    }

    #removeTile(key) {
        const tile = this.tiles.get(key);
        if (!tile) {
            return;
        }
        for (const [ kind, track ] of Object.entries(tile.tracks)) {
            track.detach(tile[kind]);
        }
        tile.el.remove();
        this.tiles.delete(key);
    }

    #marks({ el, tracks, screen }) {
        const off = t => !t || t.isMuted();
        el.classList.toggle('no-video', off(tracks.video));
        el.classList.toggle('no-audio', !screen && off(tracks.audio));
        el.dataset.videoMuted = off(tracks.video);
        el.dataset.audioMuted = off(tracks.audio);
    }
}

function offIcon() {
    const ns = 'http://www.w3.org/2000/svg';
    const svg = document.createElementNS(ns, 'svg');
    svg.setAttribute('viewBox', '0 0 24 24');
    const path = document.createElementNS(ns, 'path');
    path.setAttribute('d', 'M12 15a3.5 3.5 0 0 0 3.5-3.5v-5a3.5 3.5 0 0 0-7 0v5M18.5 11.500a6.500 6.500 0 0 1-13 0M12 18v3M4 4l16 16');
    svg.append(path);
    return svg;
}

function initials(name) {
    const words = name.trim().split(/\s+/).filter(Boolean);
    const first = w => [ ...w ][0] ?? '';
    return (first(words[0] ?? '?') + (words.length > 1 ? first(words[words.length - 1]) : '')).toUpperCase();
}
