/** The colours of the map are told apart by every kind of sight, and are legible: DASHBOARD, Encodings. */
import { readFileSync } from "node:fs";

import { describe, expect, test } from "vitest";

const css = readFileSync("src/styles/tokens.css", "utf8");
const block = (after: string): string => css.slice(css.indexOf(after)).split("}")[0] ?? "";
const colours = (text: string): Record<string, string> =>
  Object.fromEntries([...text.matchAll(/--([a-z-]+): (#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value]));

const THEMES = { light: colours(block(":root {")), dark: colours(block(':root[data-theme="dark"]')) };

type Triple = [number, number, number];

const linear = (hex: string): Triple =>
  [1, 3, 5].map((at) => {
    const value = parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as Triple;

const times = (matrix: number[][], [x, y, z]: Triple): Triple => matrix.map(([a, b, c]) => a! * x + b! * y + c! * z) as Triple;

// Machado, Oliveira and Fernandes 2009, severity 1.0, in linear RGB.
const SIGHTS: Record<string, number[][]> = {
  normal: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protan: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deutan: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritan: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
};

/** Björn Ottosson, https://bottosson.github.io/posts/oklab/ */
function oklab(rgb: Triple): Triple {
  const lms = times([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]], rgb);
  const roots = lms.map((value) => Math.cbrt(Math.max(0, value))) as Triple;
  return times([[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099], [0.0259040371, 0.7827717662, -0.808675766]], roots);
}

const clamped = (triple: Triple): Triple => triple.map((value) => Math.min(1, Math.max(0, value))) as Triple;

const luminance = (hex: string): number => {
  const [r, g, b] = linear(hex);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};

const contrast = (one: string, other: string): number => {
  const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a) as [number, number];
  return (high + 0.05) / (low + 0.05);
};

const STATES = ["rest", "moved", "leaving", "lost"] as const;

describe.each(Object.entries(THEMES))("the %s theme", (_, theme) => {
  test.each(Object.keys(SIGHTS))("keeps the states 0.13 apart for %s sight", (sight) => {
    for (const one of STATES) {
      for (const other of STATES) {
        if (one >= other) continue;
        const [a, b] = [one, other].map((name) => oklab(clamped(times(SIGHTS[sight]!, linear(theme[name]!))))) as [Triple, Triple];
        expect(Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]), `${one} and ${other}`).toBeGreaterThan(0.13);
      }
    }
  });

  test("keeps the resting fill at 3:1, all that is read at 4.5:1, on the page and on panels", () => {
    for (const ground of ["page", "panel"]) {
      expect(contrast(theme["rest"]!, theme[ground]!)).toBeGreaterThanOrEqual(3);
      for (const name of ["ink", "quiet", "moved", "leaving", "lost", "held"]) {
        expect(contrast(theme[name]!, theme[ground]!), `${name} on ${ground}`).toBeGreaterThanOrEqual(4.5);
      }
    }
    for (const wash of ["leaving-wash", "lost-wash", "moved-wash"]) {
      for (const name of ["ink", "quiet"]) expect(contrast(theme[name]!, theme[wash]!), `${name} on ${wash}`).toBeGreaterThanOrEqual(4.5);
    }
  });
});

test("what the system prefers and what is chosen are the same dark", () => {
  expect(colours(block('@media (prefers-color-scheme: dark)'))).toEqual(THEMES.dark);
});
