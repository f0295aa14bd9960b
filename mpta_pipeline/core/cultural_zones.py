"""Cultural zones of the Inglehart–Welzel map, as NormAd's authors assign its countries (Rao et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping

_ZONES: Mapping[str, str] = {
    "African-Islamic": "AFG BGD EGY ETH IRN IRQ KEN LBN MUS PAK PSE SAU SOM ZAF SSD SDN SYR TUR ZWE",
    "Orthodox Europe": "BIH GRC MKD ROU RUS SRB UKR",
    "Confucian": "CHN HKG JPN KOR TWN",
    "Catholic Europe": "AUT HRV HUN ITA POL PRT ESP",
    "Protestant Europe": "FRA DEU NLD SWE MLT",
    "English Speaking": "AUS CAN IRL NZL GBR USA",
    "Latin America": "ARG BRA CHL COL MEX PER VEN",
    "West and South Asia": "KHM CYP FJI IND IDN ISR LAO MYS MMR NPL PNG WSM SGP LKA THA TLS TON VNM PHL",
}
# ISO 3166-1 alpha-3 → zone.
ZONES: Mapping[str, str] = {country: zone for zone, countries in _ZONES.items() for country in countries.split()}
