// The room as the address names it, in the two forms that the server and the
// client library want (client-signaling.md §1.2).

/** Returns the room of a path, normalised; "" on the welcome page. */
export function roomOfPath(pathname) {
    const last = pathname.split('/').pop();
    try {
        return normalise(decodeURIComponent(last));
    } catch {
        return normalise(last); // a stray % is part of the name
    }
}

/** The name people mean, whatever way they typed it. */
export function normalise(name) {
    return name.normalize('NFKC').trim().toLowerCase();
}

/** The local part of the room's address; the library refuses capitals. */
export function roomNode(room) {
    return encodeURIComponent(room).toLowerCase();
}

/** Characters that can't be part of a room's path are left out. */
export function typedRoom(text) {
    return normalise(text.replace(/[?&:'"/\\#%]/g, ' ')).replace(/\s+/g, '-').replace(/^-+|-+$/g, '');
}

/** A name nobody guesses: twelve syllables of six random bits. */
export function freshRoom() {
    const consonants = 'bdfghjklmnprstvz';
    const vowels = 'aeio';
    const syllables = [...crypto.getRandomValues(new Uint8Array(12))]
        .map(b => consonants[b >> 4] + vowels[(b >> 2) & 3]);
    return [0, 3, 6, 9].map(i => syllables.slice(i, i + 3).join('')).join('-');
}
