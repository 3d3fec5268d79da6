"use strict";
// Playback: every version of a clip runs in step on one clock and only one of them is heard, so that switching keeps
// the position to the sample. Starts, stops, switches and the seam of a loop are faded. Without JavaScript the page has
// plain <audio> elements.
document.documentElement.classList.add("js");
const options = { matched: false, loop: true, rate: undefined }; // rate: of the audio in Hz, else the device's
const FADE = 0.005; // seconds
const SHORTEST_LOOP = 0.5; // seconds
let context = null;
let current = null;

class Player {
  // addresses: of the audio, one for each element of the class "version".
  constructor(card, addresses = [...card.querySelectorAll("audio")].map((audio) => audio.src)) {
    this.card = card;
    this.addresses = addresses;
    this.versions = [...card.querySelectorAll(".version")];
    this.playButton = card.querySelector(".play");
    this.slider = card.querySelector(".seek input");
    this.clock = card.querySelector(".seek output");
    this.region = [...card.querySelectorAll(".region input")]; // both ends of the loop, on pages that let them be moved
    this.length = Number(card.dataset.seconds);
    this.from = 0;
    this.to = this.length;
    this.active = 0;
    this.position = 0;
    this.voices = null;
    this.busy = false;
    this.playButton.addEventListener("click", () => this.toggle());
    this.versions.forEach((button, index) => button.addEventListener("click", () => this.select(index)));
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    this.region.forEach((input, end) => input.addEventListener("input", () => this.moveLoop(end, Number(input.value))));
    this.show();
  }

  get playing() {
    return this.voices !== null;
  }

  async load() {
    if (this.buffers) return;
    this.buffers = await Promise.all(this.addresses.map(decode));
    this.length = Math.min(...this.buffers.map((buffer) => buffer.duration));
    this.to = this.to < Number(this.card.dataset.seconds) ? Math.min(this.to, this.length) : this.length;
  }

  async play() {
    if (this.busy || this.playing) return;
    this.busy = true;
    try {
      if (current && current !== this) current.leave();
      current = this;
      this.card.classList.add("current");
      context = context || new AudioContext({ sampleRate: options.rate });
      await context.resume();
      await this.load();
      if (current === this) this.start();
    } catch (error) {
      this.card.classList.add("broken");
      console.error(error);
    } finally {
      this.busy = false;
    }
  }

  // What is played in turn: the loop, or all of it.
  get span() {
    return options.loop ? [this.from, this.to] : [0, this.length];
  }

  start() {
    const begin = context.currentTime + 0.02;
    const [from, to] = this.span;
    if (this.position < from || this.position >= to) this.position = from;
    const [seams, rise, fall] = [context.createGain(), context.createGain(), context.createGain()];
    seams.connect(rise).connect(fall).connect(context.destination);
    rise.gain.setValueAtTime(0, begin);
    rise.gain.linearRampToValueAtTime(1, begin + FADE);
    this.fall = fall;
    this.voices = this.buffers.map((buffer, index) => {
      const source = startSource(buffer, begin, this.position, from, to);
      const gain = context.createGain();
      gain.gain.value = index === this.active ? this.level(index) : 0;
      source.connect(gain).connect(seams);
      return { source, gain };
    });
    if (options.loop) {
      const envelope = fadedEnds(to - from);
      const source = startSource(envelope, begin, this.position - from, 0, envelope.duration);
      seams.gain.value = 0;
      source.connect(seams.gain);
      this.voices.push({ source });
    }
    this.began = begin - this.position;
    this.card.classList.add("playing");
    this.tick();
  }

  stop() {
    if (!this.playing) return;
    this.position = this.now();
    this.fall.gain.setTargetAtTime(0, context.currentTime, FADE);
    for (const { source } of this.voices) source.stop(context.currentTime + 8 * FADE);
    this.voices = null;
    this.card.classList.remove("playing");
    this.show();
  }

  leave() {
    this.stop();
    this.card.classList.remove("current");
    this.buffers = null; // some megabytes a version; decoded again when it is played again
  }

  toggle() {
    if (this.playing) this.stop();
    else this.play();
  }

  seek(seconds) {
    const [from, to] = this.span;
    this.whileStopped(() => {
      this.position = Math.max(from, Math.min(seconds, to - 0.01));
    });
  }

  // end: 0 for where the loop begins, 1 for where it ends.
  moveLoop(end, seconds) {
    this.whileStopped(() => {
      if (end === 0) this.from = Math.max(0, Math.min(seconds, this.to - SHORTEST_LOOP));
      else this.to = Math.min(this.length, Math.max(seconds, this.from + SHORTEST_LOOP));
    });
  }

  whileStopped(change) {
    const playing = this.playing;
    this.stop();
    change();
    if (playing) this.start();
    this.show();
  }

  select(index) {
    if (index >= this.versions.length) return;
    this.active = index;
    this.mix();
    this.show();
  }

  mix() {
    if (!this.playing) return;
    this.versions.forEach((_, index) => {
      const { gain } = this.voices[index].gain;
      gain.setTargetAtTime(index === this.active ? this.level(index) : 0, context.currentTime, FADE);
    });
  }

  level(index) {
    return options.matched ? 10 ** (Number(this.versions[index].dataset.gain) / 20) : 1;
  }

  now() {
    if (!this.playing) return this.position;
    const [from, to] = this.span;
    const passed = Math.max(from, context.currentTime - this.began);
    return options.loop ? from + ((passed - from) % (to - from)) : Math.min(passed, to);
  }

  tick() {
    if (!this.playing) return;
    if (!options.loop && this.now() >= this.length) {
      this.stop();
      this.position = 0;
    }
    this.show();
    requestAnimationFrame(() => this.tick());
  }

  show() {
    const now = this.now();
    this.card.style.setProperty("--at", now / this.length);
    this.slider.value = now;
    this.region.forEach((input, end) => (input.value = [this.from, this.to][end]));
    this.card.style.setProperty("--from", this.from / this.length);
    this.card.style.setProperty("--to", this.to / this.length);
    this.clock.textContent = `${now.toFixed(1)} / ${this.length.toFixed(1)} s`;
    this.playButton.textContent = this.playing ? "❚❚" : "▶";
    this.playButton.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    this.versions.forEach((button, index) => button.setAttribute("aria-checked", String(index === this.active)));
  }
}

function decode(address) {
  return context.decodeAudioData(bytesOf(address.slice(address.indexOf(",") + 1)).buffer);
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// Plays by a clock that begins with `offset` seconds of the buffer, over and over from `from` to `to` if it loops.
function startSource(buffer, begin, offset, from, to) {
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.loop = options.loop;
  source.loopStart = from;
  source.loopEnd = to;
  source.start(begin, offset);
  return source;
}

// Ones of a length, with a raised cosine up and down at the ends.
function fadedEnds(seconds) {
  const buffer = context.createBuffer(1, Math.round(seconds * context.sampleRate), context.sampleRate);
  const samples = buffer.getChannelData(0).fill(1);
  const ramp = Math.round(FADE * context.sampleRate);
  for (let i = 0; i < ramp; i++) {
    samples[i] = samples[samples.length - 1 - i] = 0.5 - 0.5 * Math.cos((Math.PI * i) / ramp);
  }
  return buffer;
}

let players = [...document.querySelectorAll(".clip[data-seconds]")].map((card) => new Player(card));

function onOption(id, apply) {
  const box = document.getElementById(id);
  if (!box) return;
  box.addEventListener("change", () => apply(box.checked));
  apply(box.checked); // browsers keep ticks over a reload
}
onOption("matched", (on) => {
  options.matched = on;
  for (const button of document.querySelectorAll(".version")) {
    const gain = Math.round(10 * button.dataset.gain) / 10;
    button.querySelector(".gain").textContent = on ? `${gain < 0 ? "−" : "+"}${Math.abs(gain).toFixed(1)} dB` : "";
  }
  if (current) current.mix();
});
onOption("loop", (on) => {
  if (!current) options.loop = on;
  else current.whileStopped(() => (options.loop = on));
});

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("dialog")) return;
  const player = current || players[0];
  if (!player) return;
  if (event.key === " " && !target.closest("button, input:not([type=range]), summary, a, audio")) {
    event.preventDefault();
    player.toggle();
  } else if (/^[0-9]$/.test(event.key) && !target.closest("input:not([type=checkbox]):not([type=range])")) {
    player.select(Number(event.key));
  } else if (player.region.length && (event.key === "[" || event.key === "]")) {
    player.moveLoop(event.key === "[" ? 0 : 1, player.now());
  }
});
