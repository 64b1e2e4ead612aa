// The chat panel. Text is only ever text.

const KEPT = 500; // lines; older ones leave the page

export class Chat {
    constructor({ panel, list, form, input, unread }) {
        Object.assign(this, { panel, list, form, input, unread });
        this.missed = 0;
        this.send = () => {};
        form.addEventListener('submit', ev => {
            ev.preventDefault();
            const text = input.value.trim();
            if (text) {
                this.send(text);
                input.value = '';
            }
        });
    }

    toggle(open = this.panel.hidden) {
        this.panel.hidden = !open;
        if (open) {
            this.missed = 0;
            this.#badge();
            this.list.scrollTop = this.list.scrollHeight;
            this.input.focus();
        }
    }

    add({ name, text, ts, mine }) {
        const item = document.createElement('li');
        item.classList.toggle('mine', mine);
        const who = document.createElement('div');
        who.className = 'who';
        const at = new Date(ts ?? Date.now());
        who.textContent = `${name} · ${at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })}`;
        const what = document.createElement('div');
        what.className = 'what';
        what.textContent = text;
        item.append(who, what);
        const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 60;
        this.list.append(item);
        while (this.list.children.length > KEPT) {
            this.list.firstElementChild.remove();
        }
        if (atEnd || mine) {
            this.list.scrollTop = this.list.scrollHeight;
        }
        if (this.panel.hidden && !mine) {
            this.missed++;
            this.#badge();
        }
    }

    clear() {
        this.list.replaceChildren();
        this.missed = 0;
        this.#badge();
    }

    #badge() {
        this.unread.hidden = !this.missed;
        this.unread.textContent = this.missed > 99 ? '99+' : String(this.missed);
    }
}
