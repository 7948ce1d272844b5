"use strict";(()=>{function _(o,t,e){let r=o.createProgram();for(let[s,i]of[[o.VERTEX_SHADER,t],[o.FRAGMENT_SHADER,e]]){let n=o.createShader(s);if(!n)throw new Error("The browser gave up its 3D context. Load the page again.");o.shaderSource(n,`#version 300 es
precision highp float;
precision highp int;
`+i),o.compileShader(n),o.attachShader(r,n)}if(o.linkProgram(r),!o.getProgramParameter(r,o.LINK_STATUS))throw new Error("A shader does not compile: "+o.getProgramInfoLog(r));return r}function x(o,t,e=o.NEAREST){let r=o.createTexture();o.activeTexture(o.TEXTURE0+t),o.bindTexture(o.TEXTURE_2D,r);for(let s of[o.TEXTURE_MIN_FILTER,o.TEXTURE_MAG_FILTER])o.texParameteri(o.TEXTURE_2D,s,e);for(let s of[o.TEXTURE_WRAP_S,o.TEXTURE_WRAP_T])o.texParameteri(o.TEXTURE_2D,s,o.CLAMP_TO_EDGE);return r}var X=`
in vec3 position;
in vec4 color;
in vec2 uv;
uniform vec3 eye, right, down, forward;
uniform vec2 size;
uniform float focal;
out vec4 tint;
out vec2 place;
void main() {
  vec3 w = position - eye, p = vec3(dot(right, w), dot(down, w), dot(forward, w));
  tint = color;
  place = uv;
  const float near = 0.05, far = 100.0;
  gl_Position = vec4(p.x * 2.0 * focal / size.x, -p.y * 2.0 * focal / size.y, ((far + near) * p.z - 2.0 * far * near) / (far - near), p.z);
}`,G=`
in vec4 tint;
in vec2 place;
uniform sampler2D image;
uniform bool textured;
out vec4 seen;
void main() {
  vec4 c = textured ? texture(image, place) : tint;
  if (c.a < 0.5) discard;
  seen = vec4(c.rgb, 1.0);
}`,D=class{constructor(t,e,r){this.gl=t,this.arrays=e,this.images=r,this.program=_(t,X,G),this.image=x(t,0,t.LINEAR),this.vao=t.createVertexArray(),this.buffers={position:t.createBuffer(),color:t.createBuffer(),uv:t.createBuffer(),face:t.createBuffer()},this.frame=-1,this.count=0}#t(t){if(t===this.frame)return;this.frame=t;let{gl:e,arrays:r,buffers:s}=this;e.bindVertexArray(this.vao),this.#e("position",r.position.values(t),3,e.FLOAT,!1),r.color&&this.#e("color",r.color.integers(t),4,e.UNSIGNED_BYTE,!0),r.uv&&this.#e("uv",r.uv.values(t),2,e.FLOAT,!1);let i=Uint32Array.from(r.face.integers(t));e.bindBuffer(e.ELEMENT_ARRAY_BUFFER,s.face),e.bufferData(e.ELEMENT_ARRAY_BUFFER,i,e.DYNAMIC_DRAW),this.count=i.length,this.images.length&&(e.activeTexture(e.TEXTURE0),e.bindTexture(e.TEXTURE_2D,this.image),e.texImage2D(e.TEXTURE_2D,0,e.RGBA,e.RGBA,e.UNSIGNED_BYTE,this.images[Math.min(t,this.images.length-1)]))}#e(t,e,r,s,i){let{gl:n}=this,a=n.getAttribLocation(this.program,t);a<0||(n.bindBuffer(n.ARRAY_BUFFER,this.buffers[t]),n.bufferData(n.ARRAY_BUFFER,e,n.DYNAMIC_DRAW),n.enableVertexAttribArray(a),n.vertexAttribPointer(a,r,s,i,0,0))}draw(t,e,r,s){let{gl:i}=this;this.#t(t);let{rows:[n,a,c],eye:f}=e.pose();i.useProgram(this.program);let h=l=>i.getUniformLocation(this.program,l);for(let[l,u]of Object.entries({eye:f,right:n,down:a,forward:c}))i.uniform3fv(h(l),u);i.uniform2f(h("size"),r,s),i.uniform1f(h("focal"),e.focal(s)),i.uniform1i(h("image"),0),i.uniform1i(h("textured"),this.images.length?1:0),i.activeTexture(i.TEXTURE0),i.bindTexture(i.TEXTURE_2D,this.image),i.enable(i.DEPTH_TEST),i.disable(i.BLEND),i.bindVertexArray(this.vao),i.drawElements(i.TRIANGLES,this.count,i.UNSIGNED_INT,0)}free(){let{gl:t}=this;Object.values(this.buffers).forEach(e=>t.deleteBuffer(e)),t.deleteTexture(this.image),t.deleteVertexArray(this.vao),t.deleteProgram(this.program)}};function N(o){return Promise.all(o.map(async t=>{if(!t.startsWith("data:image/"))throw new Error("A texture of this 3D object is no picture. Build the site again.");let e=new Image;return e.src=t,await e.decode(),e}))}var w=Math.PI/180,U=class{constructor(){this.azimuth=0,this.elevation=15,this.distance=2,this.fov=40,this.target=[0,0,0],this.home=null,this.listeners=[]}settle(t){if(this.home||!t)return;let e=t.position.map((r,s)=>r-t.target[s]);this.distance=Math.hypot(...e),this.fov=t.fov_y,this.target=t.target,this.home={azimuth:Math.atan2(e[0],-e[1])/w,elevation:Math.asin(e[2]/this.distance)/w,distance:this.distance},this.reset()}turnTo(t,e){this.azimuth=t,this.elevation=Math.max(-89,Math.min(89,e)),this.listeners.forEach(r=>r())}zoom(t){this.distance=Math.max(.3,Math.min(20,this.distance*t)),this.listeners.forEach(e=>e())}reset(){this.home&&Object.assign(this,this.home),this.listeners.forEach(t=>t())}pose(){let[t,e]=[this.azimuth*w,this.elevation*w],r=[Math.sin(t)*Math.cos(e),-Math.cos(t)*Math.cos(e),Math.sin(e)],s=r.map((c,f)=>this.target[f]+c*this.distance),i=[Math.cos(t),Math.sin(t),0],n=r.map(c=>-c),a=[n[1]*i[2]-n[2]*i[1],n[2]*i[0]-n[0]*i[2],n[0]*i[1]-n[1]*i[0]];return{rows:[i,a,n],eye:s}}focal(t){return t/2/Math.tan(this.fov*w/2)}attach(t){let e=new Map;t.addEventListener("pointerdown",r=>{e.set(r.pointerId,r),t.setPointerCapture(r.pointerId)});for(let r of["pointerup","pointercancel"])t.addEventListener(r,s=>e.delete(s.pointerId));t.addEventListener("pointermove",r=>{let s=e.get(r.pointerId);if(s){if(e.size===2){let i=[...e.values()].find(a=>a.pointerId!==r.pointerId)??r,n=a=>Math.hypot(a.clientX-i.clientX,a.clientY-i.clientY)||1;this.zoom(n(s)/n(r))}else this.turnTo(this.azimuth-(r.clientX-s.clientX)*.5,this.elevation+(r.clientY-s.clientY)*.5);e.set(r.pointerId,r)}}),t.addEventListener("wheel",r=>{r.preventDefault(),this.zoom(Math.exp(r.deltaY*.001))},{passive:!1}),t.addEventListener("keydown",r=>{this.#t(r.key)&&r.preventDefault()})}#t(t){let e={ArrowLeft:[5,0],ArrowRight:[-5,0],ArrowUp:[0,5],ArrowDown:[0,-5]};if(e[t])this.turnTo(this.azimuth+e[t][0],this.elevation+e[t][1]);else if(t==="+"||t==="=")this.zoom(1/1.1);else if(t==="-")this.zoom(1.1);else if(t==="0")this.reset();else return!1;return!0}};var d=1024,B=65536,O=`
in uint index;
uniform sampler2D geometry; // 3 texels each: x y z -, covariance xx xy xz yy, yz zz - -
uniform sampler2D colors;
uniform vec3 eye, right, down, forward;
uniform vec2 size;          // pixels
uniform float focal, dilation;
uniform bool compensate;
out vec2 offset;            // in standard deviations
out vec4 color;
void main() {
  int n = int(index), column = (n & ${d-1}) * 3, row = n >> 10;
  vec3 world = texelFetch(geometry, ivec2(column, row), 0).xyz - eye;
  vec4 b = texelFetch(geometry, ivec2(column + 1, row), 0), c = texelFetch(geometry, ivec2(column + 2, row), 0);
  color = texelFetch(colors, ivec2(n & ${d-1}, row), 0);
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0); // outside: not drawn
  vec3 p = vec3(dot(right, world), dot(down, world), dot(forward, world));
  if (p.z < 0.2) return;
  vec2 limit = 1.3 * size / (2.0 * focal), t = clamp(p.xy / p.z, -limit, limit);
  float scale = focal / p.z;
  vec3 u = scale * (right - t.x * forward), v = scale * (down - t.y * forward);
  mat3 s = mat3(b.x, b.y, b.z, b.y, b.w, c.x, b.z, c.x, c.y);
  float xx = dot(u, s * u), xy = dot(u, s * v), yy = dot(v, s * v);
  float before = xx * yy - xy * xy;
  xx += dilation; yy += dilation;
  float det = xx * yy - xy * xy;
  if (compensate) {
    if (before <= 1e-6 || det <= 1e-6) return;
    color.a *= sqrt(before / (det + 1e-6) + 1e-6);
  }
  if (det <= 0.0 || color.a < 1.0 / 255.0) return;
  float mean = 0.5 * (xx + yy), spread = sqrt(max(mean * mean - det, 0.0));
  float large = mean + spread, small = max(mean - spread, 1e-9);
  vec2 axis = abs(xy) > 1e-9 ? normalize(vec2(xy, large - xx)) : (xx >= yy ? vec2(1, 0) : vec2(0, 1));
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  offset = corner * sqrt(2.0 * log(color.a * 255.0));
  vec2 pixel = p.xy * scale + axis * offset.x * sqrt(large) + vec2(-axis.y, axis.x) * offset.y * sqrt(small);
  gl_Position = vec4(pixel.x * 2.0 / size.x, -pixel.y * 2.0 / size.y, 0.0, 1.0);
}`,Y=`
in vec2 offset;
in vec4 color;
out vec4 seen;
void main() {
  float alpha = min(0.99, color.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < 1.0 / 255.0) discard;
  seen = vec4(color.rgb * alpha, alpha);
}`;function V(o,t){let e=o.length/3,r=new Float32Array(e),s=1/0,i=-1/0;for(let h=0;h<e;h++){let l=r[h]=o[3*h]*t[0]+o[3*h+1]*t[1]+o[3*h+2]*t[2];l<s&&(s=l),l>i&&(i=l)}let n=new Uint16Array(e),a=new Uint32Array(B+1),c=new Uint32Array(e),f=i>s?(B-1)/(i-s):0;for(let h=0;h<e;h++)n[h]=(i-r[h])*f,a[n[h]+1]++;for(let h=0;h<B;h++)a[h+1]+=a[h];for(let h=0;h<e;h++)c[a[n[h]]++]=h;return c}function W(o,t,e){let r=o.length/3,s=new Float32Array(Math.ceil(r/d)*d*12),i=[0,0,0,0];for(let n=0;n<r;n++){j(e,n,i);let[a,c,f,h]=i,l=t[3*n],u=t[3*n+1],m=t[3*n+2],p=l*(1-2*(f*f+h*h)),E=u*2*(c*f-a*h),v=m*2*(c*h+a*f),y=l*2*(c*f+a*h),T=u*(1-2*(c*c+h*h)),A=m*2*(f*h-a*c),g=l*2*(c*h-a*f),b=u*2*(f*h+a*c),R=m*(1-2*(c*c+f*f));s.set([o[3*n],o[3*n+1],o[3*n+2],0,p*p+E*E+v*v,p*y+E*T+v*A,p*g+E*b+v*R,y*y+T*T+A*A,y*g+T*b+A*R,g*g+b*b+R*R,0,0],12*n)}return s}function j(o,t,e){let r=o[4*t+3],s=1,i=4*t;for(let n=0;n<4;n++)n!==r&&(e[n]=(o[i++]/255*2-1)*Math.SQRT1_2,s-=e[n]*e[n]);e[r]=Math.sqrt(Math.max(0,s))}var M=class{constructor(t,e,r){this.gl=t,this.arrays=r,this.dilation=e.dilation??.3,this.compensate=e.compensate??!1,this.program=_(t,O,Y),this.geometry=x(t,0),this.colors=x(t,1),this.order=t.createBuffer(),this.vao=t.createVertexArray(),t.bindVertexArray(this.vao),t.bindBuffer(t.ARRAY_BUFFER,this.order);let s=t.getAttribLocation(this.program,"index");t.enableVertexAttribArray(s),t.vertexAttribIPointer(s,1,t.UNSIGNED_INT,0,0),t.vertexAttribDivisor(s,1),this.frame=-1,this.positions=new Float32Array(0)}#t(t){if(t===this.frame)return;this.frame=t;let{gl:e,arrays:r}=this;this.positions=r.center.values(t);let s=Math.max(1,Math.ceil(this.positions.length/3/d)),i=new Uint8Array(s*d*4);i.set(r.color.integers(t));let n=W(this.positions,r.scale.values(t),r.rotation.integers(t));e.pixelStorei(e.UNPACK_ALIGNMENT,1),F(e,0,this.geometry,e.RGBA32F,d*3,s,e.FLOAT,n),F(e,1,this.colors,e.RGBA8,d,s,e.UNSIGNED_BYTE,i)}draw(t,e,r,s){let{gl:i}=this;if(this.#t(t),!this.positions.length)return;let{rows:[n,a,c],eye:f}=e.pose();i.useProgram(this.program);let h=u=>i.getUniformLocation(this.program,u),l={geometry:this.geometry,colors:this.colors};Object.entries(l).forEach(([u,m],p)=>{i.activeTexture(i.TEXTURE0+p),i.bindTexture(i.TEXTURE_2D,m),i.uniform1i(h(u),p)});for(let[u,m]of Object.entries({eye:f,right:n,down:a,forward:c}))i.uniform3fv(h(u),m);i.uniform2f(h("size"),r,s),i.uniform1f(h("focal"),e.focal(s)),i.uniform1f(h("dilation"),this.dilation),i.uniform1i(h("compensate"),this.compensate?1:0),i.bindVertexArray(this.vao),i.bindBuffer(i.ARRAY_BUFFER,this.order),i.bufferData(i.ARRAY_BUFFER,V(this.positions,c),i.DYNAMIC_DRAW),i.disable(i.DEPTH_TEST),i.enable(i.BLEND),i.blendFunc(i.ONE,i.ONE_MINUS_SRC_ALPHA),i.drawArraysInstanced(i.TRIANGLE_STRIP,0,4,this.positions.length/3)}free(){let{gl:t}=this;t.deleteTexture(this.geometry),t.deleteTexture(this.colors),t.deleteBuffer(this.order),t.deleteVertexArray(this.vao),t.deleteProgram(this.program)}};function F(o,t,e,r,s,i,n,a){o.activeTexture(o.TEXTURE0+t),o.bindTexture(o.TEXTURE_2D,e),o.texImage2D(o.TEXTURE_2D,0,r,s,i,0,o.RGBA,n,a)}var L={u8:1,u16:2,u32:4},S={u8:Uint8Array,u16:Uint16Array,u32:Uint32Array};function C(o,t){let e=new Uint8Array(t),r=0,s=0,i=0;for(let n=0;n<o.length;n++){for(r=r<<15|o.charCodeAt(n)-13312,s+=15;s>=8&&i<t;)s-=8,e[i++]=r>>s&255;r&=(1<<s)-1}if(i!==t)throw new Error(`This 3D object is damaged: ${t} bytes expected, ${i} found. Build the site again.`);return e}async function q(o){let t=new Blob([o]).stream().pipeThrough(new DecompressionStream("deflate"));return new Uint8Array(await new Response(t).arrayBuffer())}function k(o,t,e){let r=t.rows.reduce((a,c)=>a+c,0),s=L[t.type],i=new S[t.type](r);for(let a=0;a<s;a++){let c=o.subarray(t.offset+(e*s+a)*r,t.offset+(e*s+a+1)*r);for(let f=0;f<r;f++)i[f]|=c[f]<<8*a}let n=t.delta==="row"?1:t.delta==="frame"?t.rows[0]:0;if(n)for(let a=n;a<r;a++)i[a]+=i[a-n];return i}var I=class{constructor(t,e){this.array=e,this.columns=Array.from({length:e.width},(r,s)=>k(t,e,s)),this.starts=[0];for(let r of e.rows)this.starts.push(this.starts[this.starts.length-1]+r);this.top=2**(8*L[e.type])-1}rows(t){return this.array.rows[this.array.shared?0:t]}integers(t){let e=new S[this.array.type](this.rows(t)*this.array.width);return this.#t(t,e,r=>r),e}values(t){let e=new Float32Array(this.rows(t)*this.array.width),{low:r,high:s,log:i}=this.array;return this.#t(t,e,(n,a)=>{let c=r&&s?r[a]+n/this.top*(s[a]-r[a]):n/this.top;return i?Math.exp(c):c}),e}#t(t,e,r){let s=this.starts[this.array.shared?0:t],i=this.rows(t),n=this.array.width;this.columns.forEach((a,c)=>{for(let f=0;f<i;f++)e[f*n+c]=r(a[s+f],c)})}};async function P(o){let t=await q(C(o.data,o.packed));if(t.length!==o.bytes)throw new Error(`This 3D object is damaged: ${o.bytes} bytes expected, ${t.length} found. Build the site again.`);return Object.fromEntries(o.arrays.map(e=>[e.name,new I(t,e)]))}var $=1024,H=320,z=class{constructor(t,e){if(this.canvas=t,this.orbit=e,this.gl=t.getContext("webgl2",{alpha:!1,antialias:!0}),!this.gl)throw new Error("This browser cannot draw in 3D: it has no WebGL 2, or it is switched off.");this.scene=null,this.most=K(this.gl)?H:$,this.frame=0,this.frames=1,this.waiting=!1,e.attach(t),e.listeners.push(()=>this.request()),new ResizeObserver(()=>this.request()).observe(t)}async load(t){let e=await P(t),r=await N(t.textures??[]),s=t.kind==="gaussians"?new M(this.gl,t,e):new D(this.gl,e,r);this.scene?.free(),this.scene=s,this.frames=t.frames,this.orbit.settle(t.camera),this.request()}show(t){this.frame=t,this.request()}request(){this.waiting||(this.waiting=!0,requestAnimationFrame(()=>{this.waiting=!1,this.#t()}))}#t(){let{canvas:t,gl:e}=this,r=Math.max(1,Math.min(this.most,Math.round(t.clientWidth*devicePixelRatio)));t.width!==r&&(t.width=t.height=r),e.viewport(0,0,r,r),e.clearColor(1,1,1,1),e.clear(e.COLOR_BUFFER_BIT|e.DEPTH_BUFFER_BIT);let s=Math.min(this.frame,this.frames-1);this.scene?.draw(s,this.orbit,r,r),t.dataset.shown=this.scene?`${s} ${this.orbit.azimuth} ${this.orbit.elevation}`:""}};function K(o){let t=o.getExtension("WEBGL_debug_renderer_info");return!!t&&/swiftshader|llvmpipe|software/i.test(String(o.getParameter(t.UNMASKED_RENDERER_WEBGL)))}window.BENCH4D.viewer={Viewer:z,Orbit:U};})();
