/* In a Web Worker, without a bundler: workers have no import map, so the package is imported by its path. */
import * as api from '../node_modules/routed-attention/dist/index.js'
import { runSuite } from '../suite/suite.js'
import { report } from './report.js'

const host = JSON.parse(decodeURIComponent(location.search.slice(1)))
void report(host, () => runSuite(api, host))
