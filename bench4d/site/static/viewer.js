"use strict";(()=>{function _(s,t,e){let r=s.createProgram();for(let[o,i]of[[s.VERTEX_SHADER,t],[s.FRAGMENT_SHADER,e]]){let n=s.createShader(o);if(!n)throw new Error("The browser gave up its 3D context. Load the page again.");s.shaderSource(n,`#version 300 es
precision highp float;
precision highp int;
`+i),s.compileShader(n),s.attachShader(r,n)}if(s.linkProgram(r),!s.getProgramParameter(r,s.LINK_STATUS))throw new Error("A shader does not compile: "+s.getProgramInfoLog(r));return r}function x(s,t,e=s.NEAREST){let r=s.createTexture();s.activeTexture(s.TEXTURE0+t),s.bindTexture(s.TEXTURE_2D,r);for(let o of[s.TEXTURE_MIN_FILTER,s.TEXTURE_MAG_FILTER])s.texParameteri(s.TEXTURE_2D,o,e);for(let o of[s.TEXTURE_WRAP_S,s.TEXTURE_WRAP_T])s.texParameteri(s.TEXTURE_2D,o,s.CLAMP_TO_EDGE);return r}var X=`
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
}`,Y=`
in vec4 tint;
in vec2 place;
uniform sampler2D image;
uniform bool textured;
out vec4 seen;
void main() {
  vec4 c = textured ? texture(image, place) : tint;
  if (c.a < 0.5) discard;
  seen = vec4(c.rgb, 1.0);
}`,D=class{constructor(t,e,r){this.gl=t,this.arrays=e,this.images=r,this.program=_(t,X,Y),this.image=x(t,0,t.LINEAR),this.vao=t.createVertexArray(),this.buffers={position:t.createBuffer(),color:t.createBuffer(),uv:t.createBuffer(),face:t.createBuffer()},this.frame=-1,this.count=0}#t(t){if(t===this.frame)return;this.frame=t;let{gl:e,arrays:r,buffers:o}=this;e.bindVertexArray(this.vao),this.#e("position",r.position.values(t),3,e.FLOAT,!1),r.color&&this.#e("color",r.color.integers(t),4,e.UNSIGNED_BYTE,!0),r.uv&&this.#e("uv",r.uv.values(t),2,e.FLOAT,!1);let i=Uint32Array.from(r.face.integers(t));e.bindBuffer(e.ELEMENT_ARRAY_BUFFER,o.face),e.bufferData(e.ELEMENT_ARRAY_BUFFER,i,e.DYNAMIC_DRAW),this.count=i.length,this.images.length&&(e.activeTexture(e.TEXTURE0),e.bindTexture(e.TEXTURE_2D,this.image),e.texImage2D(e.TEXTURE_2D,0,e.RGBA,e.RGBA,e.UNSIGNED_BYTE,this.images[Math.min(t,this.images.length-1)]))}#e(t,e,r,o,i){let{gl:n}=this,a=n.getAttribLocation(this.program,t);a<0||(n.bindBuffer(n.ARRAY_BUFFER,this.buffers[t]),n.bufferData(n.ARRAY_BUFFER,e,n.DYNAMIC_DRAW),n.enableVertexAttribArray(a),n.vertexAttribPointer(a,r,o,i,0,0))}draw(t,e,r,o){let{gl:i}=this;this.#t(t);let{rows:[n,a,c],eye:f}=e.pose();i.useProgram(this.program);let h=l=>i.getUniformLocation(this.program,l);for(let[l,u]of Object.entries({eye:f,right:n,down:a,forward:c}))i.uniform3fv(h(l),u);i.uniform2f(h("size"),r,o),i.uniform1f(h("focal"),e.focal(o)),i.uniform1i(h("image"),0),i.uniform1i(h("textured"),this.images.length?1:0),i.activeTexture(i.TEXTURE0),i.bindTexture(i.TEXTURE_2D,this.image),i.enable(i.DEPTH_TEST),i.disable(i.BLEND),i.bindVertexArray(this.vao),i.drawElements(i.TRIANGLES,this.count,i.UNSIGNED_INT,0)}free(){let{gl:t}=this;Object.values(this.buffers).forEach(e=>t.deleteBuffer(e)),t.deleteTexture(this.image),t.deleteVertexArray(this.vao),t.deleteProgram(this.program)}};function F(s){return Promise.all(s.map(async t=>{if(!t.startsWith("data:image/"))throw new Error("A texture of this 3D object is no picture. Build the site again.");let e=new Image;return e.src=t,await e.decode(),e}))}var w=Math.PI/180,U=class{constructor(){this.azimuth=0,this.elevation=15,this.distance=2,this.fov=40,this.target=[0,0,0],this.home=null,this.listeners=[]}settle(t){if(this.home||!t)return;let e=t.position.map((r,o)=>r-t.target[o]);this.distance=Math.hypot(...e),this.fov=t.fov_y,this.target=t.target,this.home={azimuth:Math.atan2(e[0],-e[1])/w,elevation:Math.asin(e[2]/this.distance)/w,distance:this.distance},this.reset()}turnTo(t,e){this.azimuth=t,this.elevation=Math.max(-89,Math.min(89,e)),this.listeners.forEach(r=>r())}zoom(t){this.distance=Math.max(.3,Math.min(20,this.distance*t)),this.listeners.forEach(e=>e())}reset(){this.home&&Object.assign(this,this.home),this.listeners.forEach(t=>t())}pose(){let[t,e]=[this.azimuth*w,this.elevation*w],r=[Math.sin(t)*Math.cos(e),-Math.cos(t)*Math.cos(e),Math.sin(e)],o=r.map((c,f)=>this.target[f]+c*this.distance),i=[Math.cos(t),Math.sin(t),0],n=r.map(c=>-c),a=[n[1]*i[2]-n[2]*i[1],n[2]*i[0]-n[0]*i[2],n[0]*i[1]-n[1]*i[0]];return{rows:[i,a,n],eye:o}}focal(t){return t/2/Math.tan(this.fov*w/2)}attach(t){let e=new Map;t.addEventListener("pointerdown",r=>{e.set(r.pointerId,r),t.setPointerCapture(r.pointerId)});for(let r of["pointerup","pointercancel"])t.addEventListener(r,o=>e.delete(o.pointerId));t.addEventListener("pointermove",r=>{let o=e.get(r.pointerId);if(o){if(e.size===2){let i=[...e.values()].find(a=>a.pointerId!==r.pointerId)??r,n=a=>Math.hypot(a.clientX-i.clientX,a.clientY-i.clientY)||1;this.zoom(n(o)/n(r))}else this.turnTo(this.azimuth-(r.clientX-o.clientX)*.5,this.elevation+(r.clientY-o.clientY)*.5);e.set(r.pointerId,r)}}),t.addEventListener("wheel",r=>{r.preventDefault(),this.zoom(Math.exp(r.deltaY*.001))},{passive:!1}),t.addEventListener("keydown",r=>{this.#t(r.key)&&r.preventDefault()})}#t(t){let e={ArrowLeft:[5,0],ArrowRight:[-5,0],ArrowUp:[0,5],ArrowDown:[0,-5]};if(e[t])this.turnTo(this.azimuth+e[t][0],this.elevation+e[t][1]);else if(t==="+"||t==="=")this.zoom(1/1.1);else if(t==="-")this.zoom(1.1);else if(t==="0")this.reset();else return!1;return!0}};var d=1024,I=65536,G=`
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
}`,O=`
in vec2 offset;
in vec4 color;
out vec4 seen;
void main() {
  float alpha = min(0.99, color.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < 1.0 / 255.0) discard;
  seen = vec4(color.rgb * alpha, alpha);
}`;function V(s,t){let e=s.length/3,r=new Float32Array(e),o=1/0,i=-1/0;for(let h=0;h<e;h++){let l=r[h]=s[3*h]*t[0]+s[3*h+1]*t[1]+s[3*h+2]*t[2];l<o&&(o=l),l>i&&(i=l)}let n=new Uint16Array(e),a=new Uint32Array(I+1),c=new Uint32Array(e),f=i>o?(I-1)/(i-o):0;for(let h=0;h<e;h++)n[h]=(i-r[h])*f,a[n[h]+1]++;for(let h=0;h<I;h++)a[h+1]+=a[h];for(let h=0;h<e;h++)c[a[n[h]]++]=h;return c}function j(s,t,e){let r=s.length/3,o=new Float32Array(Math.ceil(r/d)*d*12),i=[0,0,0,0];for(let n=0;n<r;n++){C(e,n,i);let[a,c,f,h]=i,l=t[3*n],u=t[3*n+1],m=t[3*n+2],p=l*(1-2*(f*f+h*h)),E=u*2*(c*f-a*h),v=m*2*(c*h+a*f),y=l*2*(c*f+a*h),T=u*(1-2*(c*c+h*h)),A=m*2*(f*h-a*c),g=l*2*(c*h-a*f),b=u*2*(f*h+a*c),R=m*(1-2*(c*c+f*f));o.set([s[3*n],s[3*n+1],s[3*n+2],0,p*p+E*E+v*v,p*y+E*T+v*A,p*g+E*b+v*R,y*y+T*T+A*A,y*g+T*b+A*R,g*g+b*b+R*R,0,0],12*n)}return o}function C(s,t,e){let r=s[4*t+3],o=1,i=4*t;for(let n=0;n<4;n++)n!==r&&(e[n]=(s[i++]/255*2-1)*Math.SQRT1_2,o-=e[n]*e[n]);e[r]=Math.sqrt(Math.max(0,o))}var M=class{constructor(t,e,r){this.gl=t,this.arrays=r,this.dilation=e.dilation??.3,this.compensate=e.compensate??!1,this.program=_(t,G,O),this.geometry=x(t,0),this.colors=x(t,1),this.order=t.createBuffer(),this.vao=t.createVertexArray(),t.bindVertexArray(this.vao),t.bindBuffer(t.ARRAY_BUFFER,this.order);let o=t.getAttribLocation(this.program,"index");t.enableVertexAttribArray(o),t.vertexAttribIPointer(o,1,t.UNSIGNED_INT,0,0),t.vertexAttribDivisor(o,1),this.frame=-1,this.positions=new Float32Array(0)}#t(t){if(t===this.frame)return;this.frame=t;let{gl:e,arrays:r}=this;this.positions=r.center.values(t);let o=Math.max(1,Math.ceil(this.positions.length/3/d)),i=new Uint8Array(o*d*4);i.set(r.color.integers(t));let n=j(this.positions,r.scale.values(t),r.rotation.integers(t));e.pixelStorei(e.UNPACK_ALIGNMENT,1),N(e,0,this.geometry,e.RGBA32F,d*3,o,e.FLOAT,n),N(e,1,this.colors,e.RGBA8,d,o,e.UNSIGNED_BYTE,i)}draw(t,e,r,o){let{gl:i}=this;if(this.#t(t),!this.positions.length)return;let{rows:[n,a,c],eye:f}=e.pose();i.useProgram(this.program);let h=u=>i.getUniformLocation(this.program,u),l={geometry:this.geometry,colors:this.colors};Object.entries(l).forEach(([u,m],p)=>{i.activeTexture(i.TEXTURE0+p),i.bindTexture(i.TEXTURE_2D,m),i.uniform1i(h(u),p)});for(let[u,m]of Object.entries({eye:f,right:n,down:a,forward:c}))i.uniform3fv(h(u),m);i.uniform2f(h("size"),r,o),i.uniform1f(h("focal"),e.focal(o)),i.uniform1f(h("dilation"),this.dilation),i.uniform1i(h("compensate"),this.compensate?1:0),i.bindVertexArray(this.vao),i.bindBuffer(i.ARRAY_BUFFER,this.order),i.bufferData(i.ARRAY_BUFFER,V(this.positions,c),i.DYNAMIC_DRAW),i.disable(i.DEPTH_TEST),i.enable(i.BLEND),i.blendFunc(i.ONE,i.ONE_MINUS_SRC_ALPHA),i.drawArraysInstanced(i.TRIANGLE_STRIP,0,4,this.positions.length/3)}free(){let{gl:t}=this;t.deleteTexture(this.geometry),t.deleteTexture(this.colors),t.deleteBuffer(this.order),t.deleteVertexArray(this.vao),t.deleteProgram(this.program)}};function N(s,t,e,r,o,i,n,a){s.activeTexture(s.TEXTURE0+t),s.bindTexture(s.TEXTURE_2D,e),s.texImage2D(s.TEXTURE_2D,0,r,o,i,0,s.RGBA,n,a)}var L={u8:1,u16:2,u32:4},P={u8:Uint8Array,u16:Uint16Array,u32:Uint32Array};function q(s,t){let e=new Uint8Array(t),r=0,o=0,i=0;for(let n=0;n<s.length;n++){for(r=r<<15|s.charCodeAt(n)-13312,o+=15;o>=8&&i<t;)o-=8,e[i++]=r>>o&255;r&=(1<<o)-1}if(i!==t)throw new Error(`This 3D object is damaged: ${t} bytes expected, ${i} found. Build the site again.`);return e}async function W(s){let t=new Blob([s]).stream().pipeThrough(new DecompressionStream("deflate"));return new Uint8Array(await new Response(t).arrayBuffer())}function $(s,t,e){let r=t.rows.reduce((a,c)=>a+c,0),o=L[t.type],i=new P[t.type](r);for(let a=0;a<o;a++){let c=s.subarray(t.offset+(e*o+a)*r,t.offset+(e*o+a+1)*r);for(let f=0;f<r;f++)i[f]|=c[f]<<8*a}let n=t.delta==="row"?1:t.delta==="frame"?t.rows[0]:0;if(n)for(let a=n;a<r;a++)i[a]+=i[a-n];return i}var z=class{constructor(t,e){this.array=e,this.columns=Array.from({length:e.width},(r,o)=>$(t,e,o)),this.starts=[0];for(let r of e.rows)this.starts.push(this.starts[this.starts.length-1]+r);this.top=2**(8*L[e.type])-1}rows(t){return this.array.rows[this.array.shared?0:t]}integers(t){let e=new P[this.array.type](this.rows(t)*this.array.width);return this.#t(t,e,r=>r),e}values(t){let e=new Float32Array(this.rows(t)*this.array.width),{low:r,high:o,log:i}=this.array;return this.#t(t,e,(n,a)=>{let c=r&&o?r[a]+n/this.top*(o[a]-r[a]):n/this.top;return i?Math.exp(c):c}),e}#t(t,e,r){let o=this.starts[this.array.shared?0:t],i=this.rows(t),n=this.array.width;this.columns.forEach((a,c)=>{for(let f=0;f<i;f++)e[f*n+c]=r(a[o+f],c)})}};async function S(s){let t=await W(q(s.data,s.packed));if(t.length!==s.bytes)throw new Error(`This 3D object is damaged: ${s.bytes} bytes expected, ${t.length} found. Build the site again.`);return Object.fromEntries(s.arrays.map(e=>[e.name,new z(t,e)]))}var k=1024,B=class{constructor(t,e){if(this.canvas=t,this.orbit=e,this.gl=t.getContext("webgl2",{alpha:!1,antialias:!0}),!this.gl)throw new Error("This browser cannot draw in 3D: it has no WebGL 2, or it is switched off.");this.scene=null,this.frame=0,this.frames=1,this.waiting=!1,e.attach(t),e.listeners.push(()=>this.request()),new ResizeObserver(()=>this.request()).observe(t)}async load(t){let e=await S(t),r=await F(t.textures??[]),o=t.kind==="gaussians"?new M(this.gl,t,e):new D(this.gl,e,r);this.scene?.free(),this.scene=o,this.frames=t.frames,this.orbit.settle(t.camera),this.request()}show(t){this.frame=t,this.request()}request(){this.waiting||(this.waiting=!0,requestAnimationFrame(()=>{this.waiting=!1,this.#t()}))}#t(){let{canvas:t,gl:e}=this,r=Math.max(1,Math.min(k,Math.round(t.clientWidth*devicePixelRatio)));t.width!==r&&(t.width=t.height=r),e.viewport(0,0,r,r),e.clearColor(1,1,1,1),e.clear(e.COLOR_BUFFER_BIT|e.DEPTH_BUFFER_BIT);let o=Math.min(this.frame,this.frames-1);this.scene?.draw(o,this.orbit,r,r),t.dataset.shown=this.scene?`${o} ${this.orbit.azimuth} ${this.orbit.elevation}`:""}};window.BENCH4D.viewer={Viewer:B,Orbit:U};})();
