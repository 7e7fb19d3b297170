// Music that is still being made: a WAV stream without an end, kept in memory and played by Web Audio.
// It is to the player what an <audio> element is, as far as the player asks. There is no file in it that
// a browser could save; what is dropped is gone.
(() => {
    const HEAD = 44, PIECE_S = 0.5, AHEAD_S = 3, ENOUGH_S = 0.7, FADE_S = 0.01, BLOCK_S = 0.05, LIKELY_RATE = 48_000;
    const sleep = seconds => new Promise(done => setTimeout(done, seconds * 1000));
    let context = null;  // one for the page, of the stream's rate: pieces then join without a seam
    const contextOf = rate => {
        if (context?.sampleRate !== rate) { context?.close(); context = new AudioContext({ sampleRate: rate }); }
        return context;
    };

    class Stream extends EventTarget {
        // A click lets sound be played that comes some time after it.
        static warm() { contextOf(context?.sampleRate ?? LIKELY_RATE).resume(); }

        constructor(url, seconds) {
            super();
            Object.assign(this, { url, seconds, readyState: 1, preload: "auto", error: null, loudness: 1 });
            Object.assign(this, { bytes: new Uint8Array(HEAD), filled: 0, rate: 0, channels: 0, blocks: [], at: 0 });
            this.paused = true;
            this.complete = this.dropped = false;
            this.reading = this.run = null;
        }

        get made() { return this.rate ? this.frames / this.rate : 0; }
        get frames() { return this.channels ? Math.floor((this.filled - HEAD) / (2 * this.channels)) : 0; }
        get duration() { return this.complete ? this.made : Math.max(this.seconds, this.made); }
        get volume() { return this.loudness; }
        set volume(level) { this.loudness = Number(level); if (this.run) this.run.level.gain.value = this.loudness; }
        get currentTime() {
            if (!this.run) return this.at;
            const { from, since, next } = this.run, frame = from + (context.currentTime - since) * this.rate;
            return Math.max(from, Math.min(next, frame)) / this.rate;
        }
        set currentTime(seconds) {
            const at = Math.max(0, Math.min(this.made, seconds));
            this.stop();
            this.at = at;
            this.tell("seeked");
            this.start();
        }
        // What reaches the loudspeaker now; what is handed over is somewhat ahead.
        get heard() {
            if (!this.run) return this.at;
            const { contextTime, performanceTime } = context.getOutputTimestamp();
            return this.currentTime - (context.currentTime - contextTime - (performance.now() - performanceTime) / 1000);
        }
        get sounds() { return this.run !== null; }

        tell(name) { this.dispatchEvent(new Event(name)); }

        // -- what has come ------------------------------------------------------------------------
        async open() {
            if (this.reading || this.complete || this.dropped) return;
            const reading = this.reading = new AbortController();
            try {
                const answer = await fetch(this.url, { cache: "no-store", signal: reading.signal });
                if (!answer.ok) throw Error(answer.status);
                const reader = answer.body.getReader();
                for (let seen = 0; ;) {  // a stream that is opened again begins anew: what is here is passed over
                    const { done, value } = await reader.read();
                    if (this.reading !== reading) return;
                    if (done) break;
                    if (seen + value.length > this.filled) this.keep(value.subarray(Math.max(0, this.filled - seen)));
                    seen += value.length;
                }
                this.complete = true;
                this.tell("grown");
                this.run ? this.pump() : this.start();
            } catch {
                if (this.reading === reading) { this.reading = null; this.pause(); this.tell("lost"); }
            } finally {
                if (this.reading === reading) this.reading = null;
            }
        }

        close() { const { reading } = this; this.reading = null; reading?.abort(); }
        load() { this.open(); }

        keep(part) {
            const before = this.frames, needed = this.filled + part.length;
            if (needed > this.bytes.length) {
                const likely = this.channels ? HEAD + 2 * this.channels * Math.ceil(this.rate * (this.seconds + 1)) : 0;
                const larger = new Uint8Array(Math.max(needed, likely > this.bytes.length ? likely : 2 * this.bytes.length));
                larger.set(this.bytes.subarray(0, this.filled));
                this.bytes = larger;
            }
            this.bytes.set(part, this.filled);
            this.filled = needed;
            if (!this.rate && needed >= HEAD) {
                const head = new DataView(this.bytes.buffer);
                this.channels = head.getUint16(22, true);
                this.rate = head.getUint32(24, true);
            }
            if (this.frames === before) return;
            const samples = this.samples, block = Math.round(BLOCK_S * this.rate) * this.channels;
            for (let at = before * this.channels; at < samples.length; at++) {
                const place = Math.floor(at / block), peak = Math.abs(samples[at]) / 32768;
                if (!(this.blocks[place] >= peak)) this.blocks[place] = peak;
            }
            this.tell("grown");
            this.run ? this.pump() : this.start();
        }

        get samples() { return new Int16Array(this.bytes.buffer, HEAD, this.frames * this.channels); }

        // The outline of the whole in so many columns; none where nothing was made yet.
        columns(count) {
            const wide = this.duration / count / BLOCK_S;
            return Array.from({ length: count }, (_, place) => {
                const first = Math.floor(place * wide), end = Math.max(first + 1, Math.floor((place + 1) * wide));
                return this.blocks.slice(first, end).reduce((most, peak) => Math.max(most, peak), 0);
            });
        }

        // -- what is heard ------------------------------------------------------------------------
        async play() {
            if (this.dropped || !this.paused) return;
            if (this.complete && this.at >= this.made) this.at = 0;
            this.paused = false;
            this.tell("play");
            this.open();
            await this.start();
        }

        pause() {
            if (this.paused) return;
            this.stop();
            this.paused = true;
            this.tell("pause");
        }

        // Begins where it stands as soon as enough is there.
        async start() {
            if (this.paused || this.run || this.asking || !this.rate) return;
            if (contextOf(this.rate).state !== "running") {
                this.asking = true;
                await Promise.race([context.resume(), sleep(0.4)]);
                this.asking = false;
                if (this.paused || this.run) return;
                if (context.state !== "running") { this.pause(); this.tell("blocked"); return; }
            }
            if (this.complete && this.at >= this.made) return this.end();
            if (this.made - this.at < ENOUGH_S && !this.complete) return this.tell("waiting");
            const since = Math.round((context.currentTime + 0.02) * this.rate) / this.rate;
            const from = Math.round(this.at * this.rate), fade = context.createGain(), level = context.createGain();
            fade.gain.setValueAtTime(0, since);
            fade.gain.linearRampToValueAtTime(1, since + FADE_S);
            level.gain.value = this.loudness;
            fade.connect(level).connect(context.destination);
            this.run = { since, from, next: from, fade, level, sources: new Set(), timer: setInterval(() => this.pump(), 100) };
            this.tell("playing");
            this.pump();
        }

        pump() {
            const { run, rate, channels, frames } = this;
            if (!run) return;
            const due = () => run.since + (run.next - run.from) / rate;
            while (run.next < frames && due() < context.currentTime + AHEAD_S) {
                const count = Math.min(Math.round(PIECE_S * rate), frames - run.next), piece = context.createBuffer(channels, count, rate);
                const { samples } = this;
                for (let channel = 0; channel < channels; channel++) {
                    const to = piece.getChannelData(channel);
                    for (let frame = 0, at = run.next * channels + channel; frame < count; frame++, at += channels) to[frame] = samples[at] / 32768;
                }
                const source = context.createBufferSource();
                source.buffer = piece;
                source.connect(run.fade);
                source.onended = () => run.sources.delete(source);
                source.start(due());
                run.sources.add(source);
                run.next += count;
            }
            this.tell("timeupdate");
            if (run.next < frames || context.currentTime < due()) return;
            if (this.complete) return this.end();
            this.stop();  // all that is there was heard: it goes on when more is
            this.tell("waiting");
        }

        end() {
            this.stop();
            this.at = this.made;
            this.paused = true;
            this.tell("pause");
            this.tell("ended");
        }

        stop(fade = FADE_S) {
            const { run } = this;
            if (!run) return;
            this.at = this.currentTime;
            clearInterval(run.timer);
            const now = context.currentTime;
            run.fade.gain.cancelScheduledValues(now);
            run.fade.gain.setValueAtTime(run.fade.gain.value, now);
            run.fade.gain.linearRampToValueAtTime(0, now + fade);
            for (const source of run.sources) source.stop(now + fade);
            setTimeout(() => run.level.disconnect(), 1000 * fade + 200);
            this.run = null;
        }

        // Nothing of it is heard, fetched or kept any more.
        drop(fade) {
            this.close();
            this.stop(fade);
            this.dropped = true;
            this.bytes = new Uint8Array(HEAD);
            this.filled = 0;
            this.blocks = [];
            if (!this.paused) { this.paused = true; this.tell("pause"); }
        }
    }
    window.StudioStream = Stream;
})();
