/* In a page, without a bundler: `page.html?CONFIG`; the import map is the page's. */
import * as api from 'routed-attention'
import { runSuite } from '../suite/suite.js'
import { report } from './report.js'

const host = JSON.parse(decodeURIComponent(location.search.slice(1)))
void report(host, () => runSuite(api, host))
