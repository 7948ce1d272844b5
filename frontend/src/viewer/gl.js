// The little of WebGL 2 that both renderers share.

/** @param {WebGL2RenderingContext} gl @returns {WebGLProgram} */
export function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [type, source] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ]) {
    const shader = gl.createShader(/** @type {number} */ (type));
    if (!shader) throw new Error("The browser gave up its 3D context. Load the page again.");
    gl.shaderSource(shader, "#version 300 es\nprecision highp float;\nprecision highp int;\n" + source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS))
    throw new Error("A shader does not compile: " + gl.getProgramInfoLog(made));
  return made;
}

/** A texture read by texelFetch. @param {WebGL2RenderingContext} gl @returns {WebGLTexture} */
export function texture(gl, unit, /** @type {number} */ filter = gl.NEAREST) {
  const made = gl.createTexture();
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, made);
  for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, filter);
  for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
  return made;
}
