"""GLSL of the renderer: one lit program, one unlit, one for the shadow map.

The vertex stage projects as rt_hands.camera does, lens distortion included, so that the picture and the
projected truth come from one formula. Lens model: OpenCV k1 k2 p1 p2 k3. Pixel centre at (0, 0).
"""

from __future__ import annotations

from typing import Final

MAX_CAPSULES: Final = 56

_PROJECT: Final = """
uniform mat4 cam_from_world;
uniform vec4 intrinsics;      // fx fy cx cy
uniform vec2 size_px;
uniform vec2 near_far_mm;
uniform float distortion[5];  // k1 k2 p1 p2 k3

vec4 project(vec3 world_mm) {
    vec3 cam = (cam_from_world * vec4(world_mm, 1.0)).xyz;
    // Beyond 48 degrees off the axis the polynomial may turn back, and behind the camera it means nothing: there the
    // factor of the rim is kept, so that large triangles that reach out of the picture stay whole.
    vec2 p = cam.xy / max(cam.z, near_far_mm.x);
    float all_r2 = dot(p, p), r2 = min(all_r2, 1.2);
    p *= sqrt(r2 / max(all_r2, 1e-12));
    float radial = 1.0 + r2 * (distortion[0] + r2 * (distortion[1] + r2 * distortion[4]));
    float xy = p.x * p.y;
    vec2 bent = vec2(2.0 * distortion[2] * xy + distortion[3] * (r2 + 2.0 * p.x * p.x),
                     distortion[2] * (r2 + 2.0 * p.y * p.y) + 2.0 * distortion[3] * xy);
    vec2 d = cam.xy * radial + bent * cam.z;
    vec2 pixel = intrinsics.xy * d + (intrinsics.zw + 0.5) * cam.z;
    vec2 clip = pixel / size_px * 2.0 - cam.z;
    float n = near_far_mm.x, f = near_far_mm.y;
    float depth = (f + n) / (f - n) * cam.z - 2.0 * f * n / (f - n);
    // Row 0 of the picture is the first row read back, so y is not turned over.
    return vec4(clip, depth, cam.z);
}
"""

LIT_VERTEX: Final = (
    """#version 330
in vec3 position;
in vec3 normal;
in vec2 uv;
uniform int capsule_count;
uniform vec4 capsule_a[MAX_CAPSULES];   // end a, radius
uniform vec4 capsule_b[MAX_CAPSULES];   // end b
uniform mat4 shadow_from_world;
uniform float ao_strength;
out vec3 world;
out vec3 world_normal;
out vec2 texture_uv;
out float openness;
out vec3 in_shadow_map;
""".replace("MAX_CAPSULES", str(MAX_CAPSULES))
    + _PROJECT
    + """
float open_sky(vec3 p, vec3 n) {
    float open_part = 1.0;
    for (int i = 0; i < capsule_count; ++i) {
        vec3 a = capsule_a[i].xyz, ab = capsule_b[i].xyz - a;
        float r = capsule_a[i].w;
        vec3 q = p + n * r;
        float t = clamp(dot(q - a, ab) / max(dot(ab, ab), 1e-6), 0.0, 1.0);
        vec3 d = a + t * ab - p;
        float dist = max(length(d), r);
        float towards = max(dot(n, d) / dist, 0.0);
        open_part *= 1.0 - ao_strength * towards * (r * r) / (dist * dist);
    }
    return open_part;
}

void main() {
    world = position;
    world_normal = normal;
    texture_uv = uv;
    openness = open_sky(position, normalize(normal));
    in_shadow_map = (shadow_from_world * vec4(position, 1.0)).xyz * 0.5 + 0.5;
    gl_Position = project(position);
}
"""
)

LIT_FRAGMENT: Final = """#version 330
in vec3 world;
in vec3 world_normal;
in vec2 texture_uv;
in float openness;
in vec3 in_shadow_map;
uniform sampler2D albedo_map;
uniform sampler2DShadow shadow_map;
uniform vec3 eye_world;
uniform vec3 tint;
uniform vec3 scatter;         // how far each colour's light bleeds past the terminator; 0 for cloth
uniform float roughness;
uniform float gloss;           // roughness to the fourth
uniform int light_count;
uniform bool two_sided;
uniform float reflectance;
uniform float bump_mm;
uniform vec3 owner;           // right hand, left hand, anything else
uniform vec3 ambient[9];      // spherical harmonics of irradiance / pi
uniform vec4 light_from[3];   // xyz towards the light (w 0) or its place in mm (w 1)
uniform vec3 light_colour[3];
uniform float shadow_softness;
uniform float shadow_strength;
uniform float exposure;
layout(location = 0) out vec4 colour;
layout(location = 1) out vec4 mask;

vec3 irradiance(vec3 n) {
    return ambient[0] + ambient[1] * n.y + ambient[2] * n.z + ambient[3] * n.x
        + ambient[4] * (n.x * n.y) + ambient[5] * (n.y * n.z) + ambient[6] * (3.0 * n.z * n.z - 1.0)
        + ambient[7] * (n.x * n.z) + ambient[8] * (n.x * n.x - n.y * n.y);
}

float lit_part(float facing) {
    float bias = 0.004 + 0.012 * (1.0 - facing);
    float sum = 0.0;
    for (int i = 0; i < 4; ++i) {
        vec2 step_uv = vec2(float(i & 1) - 0.5, float(i >> 1) - 0.5) * shadow_softness;
        sum += texture(shadow_map, vec3(in_shadow_map.xy + step_uv, in_shadow_map.z - bias));
    }
    return mix(1.0, sum * 0.25, shadow_strength);
}

vec3 bumped(vec3 n, float height) {
    // Mikkelsen 2010: surface gradient from screen-space derivatives, no tangents needed.
    vec3 dx = dFdx(world), dy = dFdy(world);
    vec3 across = cross(dy, n), along = cross(n, dx);
    float det = dot(dx, across);
    vec3 gradient = sign(det) * (dFdx(height) * across + dFdy(height) * along);
    return normalize(abs(det) * n - gradient);
}

void main() {
    vec3 stored = texture(albedo_map, texture_uv).rgb;
    // Gamma 2 both ways instead of sRGB: pow() is what a software renderer spends its time on.
    vec3 albedo = stored * stored * tint;
    vec3 view = normalize(eye_world - world);
    vec3 n = normalize(world_normal);
    if (two_sided && dot(n, view) < 0.0) n = -n;
    if (bump_mm > 0.0) n = bumped(n, bump_mm * stored.g);
    float facing = 1.0 - clamp(dot(n, view), 0.0, 1.0);
    float rim = facing * facing * facing * facing;
    vec3 ambient_light = max(irradiance(n), vec3(0.0));
    // Light that bounces inside a fold takes the skin's own colour: no black creases.
    vec3 fold = openness / (openness + (1.0 - openness) * (1.0 - 0.75 * min(albedo, vec3(1.0))));
    vec3 sum = albedo * ambient_light * fold;
    sum += ambient_light * openness * (0.4 * reflectance + rim * 0.10 * (1.0 - roughness));
    for (int i = 0; i < light_count; ++i) {
        vec3 l = normalize(light_from[i].w > 0.5 ? light_from[i].xyz - world : light_from[i].xyz);
        float ndl = dot(n, l), front = clamp(ndl, 0.0, 1.0);
        float visible = i == 0 ? lit_part(front) : mix(1.0, openness, 0.7);
        vec3 wrapped = clamp((vec3(ndl) + scatter) / (1.0 + scatter), 0.0, 1.0);
        // Shadow edges on skin are warm: red travels furthest under it.
        vec3 through = visible + scatter * visible * (1.0 - visible);
        vec3 h = normalize(l + view);
        float nh = clamp(dot(n, h), 0.0, 1.0), lh = clamp(dot(l, h), 0.0, 1.0);
        float d = nh * nh * (gloss - 1.0) + 1.0;
        float away = 1.0 - lh, fresnel = reflectance + (1.0 - reflectance) * away * away * away * away * away;
        float lobe = min(gloss / (4.0 * d * d) * fresnel / max(0.15, lh * lh * (roughness + 0.5)), 0.8);
        sum += light_colour[i] * (albedo * wrapped * through + lobe * front * visible);
    }
    vec3 linear = sum * exposure;
    // A soft shoulder above 0.7, as cameras have: highlights roll off rather than clip.
    vec3 over = max(linear - 0.7, 0.0);
    linear = min(linear, 0.7) + 0.3 * over / (over + 0.3);
    colour = vec4(sqrt(linear), 1.0);
    mask = vec4(owner, 1.0);
}
"""

UNLIT_VERTEX: Final = (
    """#version 330
in vec3 position;
in vec2 uv;
out vec2 texture_uv;
"""
    + _PROJECT
    + """
void main() {
    texture_uv = uv;
    gl_Position = project(position);
}
"""
)

UNLIT_FRAGMENT: Final = """#version 330
in vec2 texture_uv;
uniform sampler2D albedo_map;
layout(location = 0) out vec4 colour;
layout(location = 1) out vec4 mask;
void main() {
    colour = vec4(texture(albedo_map, texture_uv).rgb, 1.0);
    mask = vec4(1.0);
}
"""

SHADOW_VERTEX: Final = """#version 330
in vec3 position;
uniform mat4 shadow_from_world;
void main() { gl_Position = shadow_from_world * vec4(position, 1.0); }
"""

SHADOW_FRAGMENT: Final = """#version 330
void main() {}
"""
