import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build, firstThatExists } from './paths.mjs'

/** @typedef {{ missing: string | undefined, environment: () => Record<string, string> }} Driver */

const loader = firstThatExists(
  ...['x86_64', 'aarch64'].map((cpu) => `/usr/lib/${cpu}-linux-gnu/libvulkan.so.1`),
  '/usr/lib64/libvulkan.so.1',
)
const library = firstThatExists('/usr/lib/chromium/libvk_swiftshader.so', '/opt/google/chrome/libvk_swiftshader.so')
const lavapipeFile = find('/usr/share/vulkan/icd.d', /^lvp_icd.*\.json$/)

/** Chromium's software driver, for any program. @type {Driver} */
export const swiftShader = {
  missing: loader && library ? undefined : 'apt-get install chromium libvulkan1',
  environment() {
    mkdirSync(build, { recursive: true })
    const file = join(build, 'swiftshader.json')
    writeFileSync(file, JSON.stringify({ file_format_version: '1.0.0', ICD: { library_path: library, api_version: '1.1.0' } }))
    return select(file)
  },
}

/** Mesa's software driver. @type {Driver} */
export const lavapipe = {
  missing: loader && lavapipeFile ? undefined : 'apt-get install mesa-vulkan-drivers libvulkan1',
  environment: () => select(/** @type {string} */ (lavapipeFile)),
}

/** Drivers complain where there is no folder for what runs. @param {string} file */
const select = (file) => ({ VK_DRIVER_FILES: file, XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? tmpdir() })

/** @param {string} folder @param {RegExp} pattern */
function find(folder, pattern) {
  try {
    const name = readdirSync(folder).find((entry) => pattern.test(entry))
    return name && join(folder, name)
  } catch {
    return undefined
  }
}
