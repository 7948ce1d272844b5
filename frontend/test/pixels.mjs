// What is on the screen, as numbers.

/** Pixels of an element on the screen: [r, g, b] each. @returns {Promise<number[][]>} */
export async function pixels(page, locator) {
  return decoded(page, await locator.screenshot(), 0.015);
}

/** Pixels of a PNG without this share of it at each side, where an element has its border, drawn as size x size. */
export function decoded(page, png, margin, size = 96) {
  return page.evaluate(
    async ([png, margin, size]) => {
      const bytes = Uint8Array.from(atob(png), (c) => c.charCodeAt(0));
      const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
      const context = new OffscreenCanvas(size, size).getContext("2d");
      const [x, y] = [image.width * margin, image.height * margin];
      context.drawImage(image, x, y, image.width - 2 * x, image.height - 2 * y, 0, 0, size, size);
      const { data } = context.getImageData(0, 0, size, size);
      return Array.from({ length: size * size }, (_, k) => [...data.subarray(4 * k, 4 * k + 3)]);
    },
    [png.toString("base64"), margin, size],
  );
}

/** Which pixels are not the white background. @param {number[][]} image */
export function covered(image) {
  return image.map((p) => Math.min(...p) < 235);
}

/** The share of pixels in which two pictures differ visibly. */
export function difference(a, b) {
  return a.filter((p, k) => p.some((v, c) => Math.abs(v - b[k][c]) > 24)).length / a.length;
}

/** Intersection over union of what two pictures cover. */
export function overlap(a, b) {
  const [x, y] = [covered(a), covered(b)];
  const both = x.filter((v, k) => v && y[k]).length;
  return both / Math.max(1, x.filter((v, k) => v || y[k]).length);
}
