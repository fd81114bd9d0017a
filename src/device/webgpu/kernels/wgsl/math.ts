/*
 * WGSL's own functions have implementation-defined errors, which reach 2^-11 for a cosine. Polynomials of products and
 * sums are equally accurate everywhere, to about float32 precision.
 */

/** `exp_of(x)`: e^x for x ≤ 88, 0 below -87.3; within 2 units in the last place. */
export const EXP = `
fn exp_of(x: f32) -> f32 {
  let clamped = clamp(x, -87.3365, 88.0);
  let n = round(clamped * 1.44269504);
  let r = fma(n, 2.12194440e-4, fma(n, -0.693359375, clamped));
  let p = fma(fma(fma(fma(fma(fma(1.9875691500e-4, r, 1.3981999507e-3), r, 8.3334519073e-3), r, 4.1665795894e-2), r, 1.6666665459e-1), r, 0.5), r * r, r) + 1.0;
  return select(p * bitcast<f32>((i32(n) + 127) << 23u), 0.0, x < -87.3365);
}`

/** `gelu_of(x)`: x · Φ(x), with erf to about 1e-7; needs `EXP`. */
export const GELU = `
fn erf_of(x: f32) -> f32 {
  let a = abs(x);
  if (a < 1.0) {
    let t = x * x;
    return x * fma(fma(fma(fma(fma(fma(7.853861353153693e-5, t, -8.010193625184903e-4), t, 5.188327685732524e-3), t, -2.685381193529856e-2), t, 1.128358514861418e-1), t, -3.761262582423300e-1), t, 1.128379165726710);
  }
  let r = 1.0 / a;
  let t = r * r;
  var p: f32;
  if (a < 2.0) {
    p = fma(fma(fma(fma(fma(fma(fma(fma(2.326819970068386e-2, t, -1.387039388740657e-1), t, 3.687424674597105e-1), t, -5.824733027278666e-1), t, 6.210004621745983e-1), t, -4.944515323274145e-1), t, 3.404879937665872e-1), t, -2.741127028184656e-1), t, 5.638259427386472e-1);
  } else {
    p = fma(fma(fma(fma(fma(fma(fma(-1.047766399936249e1, t, 1.297719955372516e1), t, -7.495518717768503), t, 2.921019019210786), t, -1.015265279202700), t, 4.218463358204948e-1), t, -2.820767439740514e-1), t, 5.641895067754075e-1);
  }
  let y = 1.0 - exp_of(-a * a) * r * p;
  return select(y, -y, x < 0.0);
}
fn gelu_of(x: f32) -> f32 { return x * (0.5 + 0.5 * erf_of(x * 0.70710678)); }`

/** `log_of(x)`: ln x for normal x > 0. */
export const LOG = `
fn log_of(value: f32) -> f32 {
  let bits = bitcast<u32>(value);
  var exponent = i32(bits >> 23u) - 126;
  var x = bitcast<f32>((bits & 0x007fffffu) | 0x3f000000u);
  if (x < 0.707106781) { exponent -= 1; x = x + x - 1.0; } else { x = x - 1.0; }
  let z = x * x;
  var y = fma(fma(fma(fma(fma(fma(fma(fma(7.0376836292e-2, x, -1.1514610310e-1), x, 1.1676998740e-1), x, -1.2420140846e-1), x, 1.4249322787e-1), x, -1.6668057665e-1), x, 2.0000714765e-1), x, -2.4999993993e-1), x, 3.3333331174e-1) * x * z;
  let e = f32(exponent);
  y = fma(e, -2.12194440e-4, y) - 0.5 * z;
  return fma(e, 0.693359375, x + y);
}`

/** `cosine_sine(turn)`: of an angle in units of 2^-32 turns; to about 1e-7. */
export const COSINE_SINE = `
fn cosine_sine(turn: u32) -> vec2f {
  let quadrant = (turn + 0x20000000u) >> 30u;
  let x = f32(i32(turn - (quadrant << 30u))) * 1.46291808e-9;
  let z = x * x;
  let s = fma(fma(fma(-1.9515295891e-4, z, 8.3321608736e-3), z, -1.6666654611e-1) * z, x, x);
  let c = fma(fma(fma(2.443315711809948e-5, z, -1.388731625493765e-3), z, 4.166664568298827e-2), z * z, fma(-0.5, z, 1.0));
  switch quadrant {
    case 0u: { return vec2f(c, s); }
    case 1u: { return vec2f(-s, c); }
    case 2u: { return vec2f(-c, -s); }
    default: { return vec2f(s, -c); }
  }
}
fn wide_product(a: u32, b: u32) -> vec2u {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return vec2u(a * b, (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u));
}`
