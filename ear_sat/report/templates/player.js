"use strict";
// Playback: every version of a clip runs in step on one clock and only one of them is heard, so that switching keeps
// the position to the sample. Without JavaScript the page has plain <audio> elements.
document.documentElement.classList.add("js");
const options = { matched: false, loop: true };
let context = null;
let current = null;

class Player {
  constructor(card) {
    this.card = card;
    this.audios = [...card.querySelectorAll("audio")];
    this.versions = [...card.querySelectorAll(".version")];
    this.playButton = card.querySelector(".play");
    this.slider = card.querySelector(".seek input");
    this.clock = card.querySelector(".seek output");
    this.length = Number(card.dataset.seconds);
    this.active = 0;
    this.position = 0;
    this.voices = null;
    this.busy = false;
    this.playButton.addEventListener("click", () => this.toggle());
    this.versions.forEach((button, index) => button.addEventListener("click", () => this.select(index)));
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    this.show();
  }

  get playing() {
    return this.voices !== null;
  }

  async load() {
    if (this.buffers) return;
    this.buffers = await Promise.all(this.audios.map((audio) => decode(audio.src)));
    this.length = Math.min(...this.buffers.map((buffer) => buffer.duration));
  }

  async play() {
    if (this.busy || this.playing) return;
    this.busy = true;
    try {
      if (current && current !== this) current.leave();
      current = this;
      this.card.classList.add("current");
      context = context || new AudioContext();
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

  start() {
    const begin = context.currentTime + 0.02;
    if (this.position >= this.length) this.position = 0;
    this.voices = this.buffers.map((buffer, index) => {
      const source = context.createBufferSource();
      const gain = context.createGain();
      source.buffer = buffer;
      source.loop = options.loop;
      source.loopEnd = this.length;
      gain.gain.value = index === this.active ? this.level(index) : 0;
      source.connect(gain).connect(context.destination);
      source.start(begin, this.position);
      return { source, gain };
    });
    this.began = begin - this.position;
    this.card.classList.add("playing");
    this.tick();
  }

  stop() {
    if (!this.playing) return;
    this.position = this.now();
    for (const { source } of this.voices) source.stop();
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
    const playing = this.playing;
    this.stop();
    this.position = Math.max(0, Math.min(seconds, this.length - 0.01));
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
    this.voices.forEach(({ gain }, index) => {
      gain.gain.setTargetAtTime(index === this.active ? this.level(index) : 0, context.currentTime, 0.005);
    });
  }

  level(index) {
    return options.matched ? 10 ** (Number(this.versions[index].dataset.gain) / 20) : 1;
  }

  now() {
    if (!this.playing) return this.position;
    const passed = Math.max(0, context.currentTime - this.began);
    return options.loop ? passed % this.length : Math.min(passed, this.length);
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
    this.clock.textContent = `${now.toFixed(1)} / ${this.length.toFixed(1)} s`;
    this.playButton.textContent = this.playing ? "❚❚" : "▶";
    this.playButton.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    this.versions.forEach((button, index) => button.setAttribute("aria-checked", String(index === this.active)));
  }
}

function decode(address) {
  const text = atob(address.slice(address.indexOf(",") + 1));
  return context.decodeAudioData(Uint8Array.from(text, (character) => character.charCodeAt(0)).buffer);
}

const players = [...document.querySelectorAll(".clip[data-seconds]")].map((card) => new Player(card));

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
  const playing = current && current.playing;
  if (playing) current.stop();
  options.loop = on;
  if (playing) current.start();
});

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("dialog")) return;
  const player = current || players[0];
  if (!player) return;
  if (event.key === " " && !target.closest("button, input, summary, a, audio")) {
    event.preventDefault();
    player.toggle();
  } else if (/^[0-9]$/.test(event.key) && !target.closest("input:not([type=checkbox]):not([type=range])")) {
    player.select(event.key === "0" ? 0 : Number(event.key));
  }
});
