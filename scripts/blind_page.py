"""Goes through pages of ``ear-sat evaluate --blind`` in Chromium as a listener does, and tells what it saw.

    python scripts/blind_page.py evaluation/mushra.html evaluation/abx.html --out DIR

It trains, plays, switches, loops, rates or answers, loads the page again midway, saves the answers and erases them, by
mouse and keyboard; it looks for names that give something away, for errors of the page, and for clicks in the sound.
DIR gets the answers (JSON and CSV) and pictures at 1300 and 390 pixels. Exit code 1 if anything was not as it should
be.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

from browser import PATIENCE, Browser

WIDE, PHONE = (1300, 900, False), (390, 844, True)
#: What the listener of this script gives each kind of version.
SCORES = {"reference": 1.0, "anchor 3.5 kHz": 0.1, "anchor 7 kHz": 0.4}
SYSTEM_SCORE = 0.7

#: Constant signals, 1 and −0.5, through the page's player: a loop from 0.2 to 0.9 s, a switch, a stop.
SOUND = """(async () => {
  const [rate, device] = [44100, context];
  context = new OfflineAudioContext(1, 2 * rate, rate);
  const player = new Player(element("card"), []);
  player.buffers = player.versions.map((_, index) => {
    const buffer = context.createBuffer(1, rate, rate);
    buffer.getChannelData(0).fill(index ? -0.5 : 1);
    return buffer;
  });
  Object.assign(player, { length: 1, from: 0.2, to: 0.9, position: 0.3 });
  player.start();
  const offline = context;
  const at = (seconds, act) => offline.suspend(seconds).then(() => { act(); offline.resume(); });
  at(0.4, () => player.select(1));
  at(1.6, () => player.stop());
  const sound = (await offline.startRendering()).getChannelData(0);
  context = device;
  const steps = sound.slice(1).map((value, index) => Math.abs(value - sound[index]));
  const [before, switched, seam, end] = [0.3, 0.5, 0.62, 1.9].map((seconds) => sound[Math.round(seconds * rate)]);
  return { step: Math.max(...steps), before, switched, seam, end };
})()"""


class Listener:
    """Goes through one page.

    Args:
        page: the HTML file.
        out: folder for answers and pictures.
        name: of the listener.
    """

    def __init__(self, browser: Browser, page: Path, out: Path, name: str) -> None:
        self.browser, self.page, self.out, self.name = browser, page, out, name
        self.wrong: list[str] = []

    def see(self, what: str, so: bool) -> None:
        """Tells of something, and remembers it where it is not so."""
        print(f"{self.page.name}: {'ok' if so else 'NOT SO'}: {what}", flush=True)
        if not so:
            self.wrong.append(what)

    def picture(self, name: str) -> None:
        """The page as it is, on a wide screen and on a phone's."""
        for width, height, phone in (PHONE, WIDE):
            self.browser.screen(width, height, phone)
            self.browser.evaluate("new Promise((done) => setTimeout(done, 300))")
            fits = self.browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
            self.see(f"the {name} fits {width} pixels", fits)
            self.browser.screenshot(self.out / f"{self.page.stem}-{name}-{width}.png")

    def go(self) -> list[str]:
        """From the beginning to the saved answers; what was wrong."""
        browser = self.browser
        browser.screen(*WIDE)
        browser.open(self.page)
        self.picture("start")
        browser.click("#listener")
        browser.write(self.name)
        browser.press("Enter")
        browser.wait("session !== null")
        method = browser.evaluate("study.method")
        orders = browser.evaluate("new Set(Array.from({ length: 50 }, () => JSON.stringify(drawTrials()))).size")
        self.see(f"{orders} of 50 listeners have an order of their own", orders > 10)
        if method == "mushra":
            self.train()
        self.sound()
        (self.rate if method == "mushra" else self.answer)()
        browser.wait("!element('end').hidden")
        self.picture("end")
        browser.reload()
        self.see("the end is still there after loading again", browser.evaluate("!element('end').hidden"))
        self.save()
        browser.click("#erase")
        browser.wait("session === null && !element('start').hidden")
        self.see("erased answers are gone", browser.evaluate("localStorage.length") == 0)
        self.see(f"the page has no errors {browser.problems or ''}".strip(), not browser.problems)
        return self.wrong

    def train(self) -> None:
        self.blind("training")
        self.picture("training")
        for _ in range(self.browser.evaluate("study.clips.length")):
            self.browser.press("Enter")
        self.see("the training leads to the test", self.browser.evaluate("session.trained"))

    def blind(self, where: str) -> None:
        """No name of a system or anchor stands in what is seen, nor in the elements behind it."""
        names = self.browser.evaluate("Object.values(key.versions).filter((name) => name !== 'reference')")
        text = self.browser.evaluate(
            "document.title + [...document.querySelectorAll('header, section, footer')].map((e) => e.outerHTML).join()"
        )
        words = set(text.replace(">", " ").replace("<", " ").replace('"', " ").split())
        self.see(f"no name in the {where}", not words & set(names))

    def sound(self) -> None:
        found = self.browser.evaluate(SOUND)
        whole = abs(found["before"] - 1) < 1e-3 and abs(found["switched"] + 0.5) < 1e-3
        self.see(f"the sound is untouched between the fades ({found['before']:.4f}, {found['switched']:.4f})", whole)
        silent = abs(found["seam"]) < 0.02 and abs(found["end"]) < 1e-6
        self.see("the seam of a loop and a stop are faded", silent)
        self.see(f"nothing clicks: the largest step is {found['step']:.4f}", found["step"] < 0.02)
        self.browser.reload()  # without that player

    def play(self) -> None:
        self.browser.press(" ")
        self.browser.wait("players[0].playing")

    def hear(self, key: str, index: int) -> None:
        self.browser.press(key)
        self.browser.wait(f"players[0].active === {index} && players[0].heard[{index}] >= HEARD_SECONDS")

    def rate(self) -> None:
        browser = self.browser
        trials = browser.evaluate("session.trials.length")
        for trial in range(trials):
            names = browser.evaluate("session.trials.find((each) => !each.done).versions.map(nameOf)")
            self.play()
            if trial == 0:
                self.loop()
            for index, name in enumerate(names):
                self.hear(str(index + 1), index + 1)
                self.see_disabled(trial)
                browser.click(f".row:nth-of-type({index + 2}) .rating", min(0.995, SCORES.get(name, SYSTEM_SCORE)))
                if trial == 0 and index == 0:
                    before = browser.evaluate("session.trials[0].scores[0]")
                    browser.press("ArrowLeft")
                    after = browser.evaluate("session.trials[0].scores[0]")
                    self.see(f"an arrow takes one off ({before} → {after})", after == before - 1)
                    browser.press("ArrowRight")
            self.hear("0", 0)
            if trial == 0:
                self.blind("trial")
                self.picture("trial")
                self.load_again("session.trials[0].scores")
            browser.wait("!element('next').disabled")
            browser.press("Enter")
        scores = browser.evaluate("session.trials.map((trial) => trial.scores)")
        self.see("all is rated", len(scores) == trials and all(None not in row for row in scores))

    def see_disabled(self, trial: int) -> None:
        if trial == 0:
            disabled = self.browser.evaluate("element('next').disabled")
            self.see("nobody goes on before all is heard and rated", disabled)

    def answer(self) -> None:
        browser = self.browser
        trials = browser.evaluate("session.trials.length * study.trials")
        for turn in range(trials):
            self.play()
            if turn == 0:
                self.loop()
            for index, key in enumerate("abx"):
                self.see_disabled(turn)
                self.hear(key, index)
            first = browser.evaluate(
                "(({ pair, x, answers }) => x[answers.length] === pair[0])(session.trials.find((t) => !t.done))"
            )
            browser.press("ArrowLeft" if first else "ArrowRight")
            browser.wait("!element('next').disabled")
            if turn == 0:
                self.blind("trial")
                self.picture("trial")
            browser.press("Enter")
            if turn == 0:
                self.load_again("session.trials[0].answers")
        results = browser.evaluate("element('outcome').textContent")
        self.see(f"the outcome is shown at the end: {results}", f"{browser.evaluate('study.trials')} of" in results)

    def loop(self) -> None:
        """A loop from where it is for half a second or more, and seeking inside of it."""
        browser = self.browser
        browser.wait("players[0].now() > 0.4")
        browser.press("[")
        browser.wait("players[0].now() > players[0].from + 0.6")
        browser.press("]")
        places = []
        until = time.monotonic() + 2
        while time.monotonic() < until:
            places.append(browser.evaluate("[players[0].from, players[0].now(), players[0].to]"))
        inside = all(low <= now <= high + 1e-6 for low, now, high in places)
        turns = sum(after[1] < before[1] for before, after in pairwise(places))
        self.see(
            f"the loop {places[-1][0]:.2f}–{places[-1][2]:.2f} s is kept to, {turns} time(s) round",
            inside and turns > 0,
        )
        browser.click(".seek input", 0.9)
        now, high = browser.evaluate("[players[0].now(), players[0].to]")
        self.see("seeking stays inside the loop", now <= high)

    def load_again(self, state: str) -> None:
        before = self.browser.evaluate(f"JSON.stringify({state})")
        self.browser.reload()
        after = self.browser.evaluate(f"JSON.stringify({state})")
        self.see(
            f"{before} is kept over loading again",
            before == after and not self.browser.evaluate("element('trial').hidden"),
        )

    def save(self) -> None:
        for kind in ("json", "csv"):
            before = set(self.out.glob(f"*.{kind}"))
            self.browser.click(f"#save-{kind}")
            until = time.monotonic() + PATIENCE
            while not (found := set(self.out.glob(f"*.{kind}")) - before) and time.monotonic() < until:
                time.sleep(0.1)
            self.see(f"the answers are saved: {', '.join(path.name for path in found)}", len(found) == 1)
            for path in found:
                text = path.read_text(encoding="utf-8")
                if kind == "json":
                    self.see(
                        "the JSON names nothing in clear",
                        "anchor" not in text and json.loads(text)["listener"] == self.name,
                    )
                else:
                    self.see(f"the table has {len(text.splitlines()) - 1} rows", len(text.splitlines()) > 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+", metavar="PAGE", help="mushra.html or abx.html")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for answers and pictures")
    parser.add_argument("--listener", default="Ann", help="name to answer under (default: Ann)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    for page in arguments.pages:
        with Browser(arguments.out.resolve()) as browser:
            wrong += Listener(browser, page, arguments.out, arguments.listener).go()
    print(f"{len(wrong)} thing(s) were not as they should be" if wrong else "all was as it should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
