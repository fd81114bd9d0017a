import { spawnSync } from 'node:child_process'

/** The first Python that has a module: $PYTHON, Debian's, or the path's. @returns {string | undefined} */
export function findPython(module = 'torch') {
  const candidates = [process.env['PYTHON'], '/usr/bin/python3', 'python3'].filter((name) => name !== undefined)
  return candidates.find((name) => spawnSync(name, ['-c', `import ${module}`]).status === 0)
}
