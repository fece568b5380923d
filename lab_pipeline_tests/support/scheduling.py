"""Which tests run in one process where pytest-xdist divides them among several."""

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

# What its marker xdist_group says is lost: xdist 3.8 writes it into a field of the tests that pytest 9.2 does not read.
OF_THE_OPEN_LAB = {
    "test_a_hostile_page_in_a_browser.py",
    "test_a_running_lab_over_http.py",
    "test_nothing_is_open_to_the_network_without_the_token.py",
}


class ModuleByModule(LoadScopeScheduling):
    """Give a process whole modules, so that none makes a second time what a module shares, in the order collected."""

    def __init__(self, config, log):
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid):
        module = PurePosixPath(nodeid.partition("::")[0])
        return "the open lab" if module.name in OF_THE_OPEN_LAB else str(module)
